"""A Slurm of one node on this machine: slurmctld and slurmd, without systemd, munge and accounting. Needs root."""

import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from waiting import PATIENCE

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue", "sinfo", "scontrol", "scancel", "srun")

CONF = """\
ClusterName=rnnlab
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
AuthType=auth/none
CryptoType=crypto/none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,sched_min_interval=0
ReturnToService=2
MpiDefault=none
MaxArraySize=3
KillWait=30
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """Why no Slurm can be started here; "" where one can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return f"no Slurm is installed ({missing[0]} is missing)"
    return "" if os.geteuid() == 0 else "Slurm's daemons need root"


def start(folder: Path) -> dict[str, str]:
    """Starts the daemons; returns the environment in which Slurm's commands find them."""
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    with socket.socket() as a, socket.socket() as b:
        a.bind(("127.0.0.1", 0)), b.bind(("127.0.0.1", 0))
        ports = [s.getsockname()[1] for s in (a, b)]
    conf = folder / "slurm.conf"
    conf.write_text(CONF.format(host=host, folder=folder, ports=ports, cpus=os.cpu_count()))
    environment = {"SLURM_CONF": str(conf)}
    for program in (["slurmctld", "-c"], ["slurmd"]):
        subprocess.run(program, check=True, env=os.environ | environment)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        said = subprocess.run(
            ["sinfo", "-h", "-o", "%T"], capture_output=True, text=True, env=os.environ | environment
        )
        if "idle" in said.stdout:
            return environment
        time.sleep(0.2)
    raise TimeoutError(f"the node does not become idle: {(folder / 'slurmctld.log').read_text()[-2000:]}")


def stop(folder: Path) -> None:
    for name in ("slurmd", "slurmctld"):
        with suppress(OSError, ValueError):
            os.kill(int((folder / f"{name}.pid").read_text()), signal.SIGTERM)
