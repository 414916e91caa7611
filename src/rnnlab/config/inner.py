"""Classes and functions that arguments of a user's own class may contain, even in the folder of another user's run.

They are torch's layers, functions and optimizers, which compute and do nothing else.
"""

# the target for a class or function itself, with its dotted path in `path`
BY_NAME = "hydra.utils.get_object"
EXACT = ("pathlib.Path", "builtins.tuple")  # targets for exact types; a config would hold texts and lists

NN = """
Identity Linear Bilinear Flatten Unflatten Embedding EmbeddingBag Sequential ModuleList
RNN LSTM GRU RNNCell LSTMCell GRUCell Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d
AvgPool1d AvgPool2d MaxPool1d MaxPool2d AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveMaxPool1d AdaptiveMaxPool2d
BatchNorm1d BatchNorm2d BatchNorm3d LayerNorm RMSNorm GroupNorm InstanceNorm1d InstanceNorm2d
Dropout Dropout1d Dropout2d Dropout3d AlphaDropout MultiheadAttention Transformer
TransformerEncoder TransformerEncoderLayer TransformerDecoder TransformerDecoderLayer
ELU CELU SELU GELU GLU ReLU ReLU6 PReLU RReLU LeakyReLU SiLU Mish Sigmoid LogSigmoid Tanh Hardtanh Hardsigmoid Hardswish
Softplus Softsign Softmax LogSoftmax Softmin Threshold L1Loss MSELoss HuberLoss SmoothL1Loss CrossEntropyLoss NLLLoss
BCELoss BCEWithLogitsLoss KLDivLoss GaussianNLLLoss PoissonNLLLoss CosineEmbeddingLoss MarginRankingLoss CTCLoss
"""
FUNCTIONAL = """
tanh sigmoid relu relu6 elu celu selu gelu glu silu mish leaky_relu softplus softsign hardtanh softmax log_softmax
mse_loss l1_loss huber_loss smooth_l1_loss cross_entropy nll_loss binary_cross_entropy binary_cross_entropy_with_logits
kl_div gaussian_nll_loss
"""
TORCH = "tanh sigmoid relu sin cos exp log sqrt abs square float16 bfloat16 float32 float64 int32 int64"
OPTIM = "Adam AdamW SGD RMSprop Adagrad Adamax NAdam RAdam"


def below(package: str, names: str) -> list[str]:
    return [f"{package}.{name}" for name in names.split()]


LAYERS = frozenset(below("torch.nn", NN))
FUNCTIONS = frozenset(
    below("torch.nn.functional", FUNCTIONAL) + below("torch", TORCH) + below("torch.optim", OPTIM)
)
