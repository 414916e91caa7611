"""A run of the sweep benchmark, written as in Lightning's and Hydra's tutorials."""

import hydra
import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Forecaster(lightning.LightningModule):
    def __init__(self, hidden_size: int, num_layers: int, lr: float):
        super().__init__()
        self.save_hyperparameters()
        self.rnn = nn.RNN(1, hidden_size, num_layers, batch_first=True)
        self.head = nn.Linear(hidden_size, 1)

    def loss(self, batch):
        x, y = batch
        return nn.functional.mse_loss(self.head(self.rnn(x)[0][:, -1]), y)

    def training_step(self, batch, batch_idx):
        loss = self.loss(batch)
        self.log("loss/train", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("loss/val", self.loss(batch), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.hparams.lr)


@hydra.main(version_base="1.3", config_path=".", config_name="config")
def main(cfg):
    lightning.seed_everything(cfg.seed)
    torch.set_num_threads(1)
    series = torch.sin(torch.linspace(0, 100, 1000))[:, None] + 0.1 * torch.randn(1000, 1)
    x, y = series.unfold(0, 20, 1).transpose(1, 2)[:-1].contiguous(), series[20:]
    train, val = TensorDataset(x[:680], y[:680]), TensorDataset(x[700:830], y[700:830])
    folder = HydraConfig.get().runtime.output_dir
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_steps=cfg.max_steps,
        max_epochs=-1,
        logger=TensorBoardLogger(folder),
        callbacks=[ModelCheckpoint(folder, monitor="loss/val", save_last=True)],
        log_every_n_steps=1,
    )
    model = Forecaster(cfg.hidden_size, cfg.num_layers, cfg.lr)
    trainer.fit(model, DataLoader(train, batch_size=32, shuffle=True), DataLoader(val, batch_size=256))
    return trainer.checkpoint_callback.best_model_score.item()


if __name__ == "__main__":
    main()
