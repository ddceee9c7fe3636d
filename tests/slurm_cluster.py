"""A real SLURM on this machine, from the distribution's packages: installed, configured, started and stopped.

Its nodes are pretended: two slurmd of one machine, each with CPUs and memory that the machine may lack, and a GPU that
is /dev/null. What is asked for is scheduled, queued, preempted and cancelled for real; only nothing is faster by it.
"""

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "setpriv")
CONFIG = Path("/etc/slurm")  # jobs lose SLURM_CONF: the file has to lie where SLURM looks by itself
OURS = "# Written by tests/slurm_cluster.py of Subterra, and removed by it.\n"
NODES = ("one", "two")
CPUS, MEMORY = 16, 96_000  # of each node, in MB, whatever the machine has
SOON = 30  # seconds in which daemons start, stop and answer

# A job that was requeued waits until its credential has run out: two minutes by default, hence AuthInfo. An urgent job
# takes the place of a running one, which goes back into the queue.
SLURM_CONF = """\
ClusterName=subterra
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
AuthType=auth/munge
AuthInfo=cred_expire=5
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
MinJobAge=3600
KillWait=2
ReturnToService=2
SlurmdParameters=config_overrides
GresTypes=gpu
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
{nodes}
PartitionName=main Nodes={names} Default=YES MaxTime=7-0 PriorityTier=1
PartitionName=urgent Nodes={names} MaxTime=7-0 PriorityTier=2
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} RealMemory={memory} Gres=gpu:1"
GRES_CONF = "Name=gpu File=/dev/null\n"


class Unavailable(Exception):
    """No SLURM can be run here; the message says why."""


@dataclass(frozen=True)
class Job:
    """A job as SLURM tells it: what it asked for and what became of it. `memory` is in MB, `limit` in minutes."""

    number: int
    rule: str
    state: str
    partition: str
    restarts: int
    nodes: int
    cpus: int
    memory: int
    limit: int
    gpus: str


class Cluster:
    """The running cluster. `start` installs what is missing; `stop` leaves no daemon and no file in /etc/slurm."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._daemons: list[subprocess.Popen] = []
        self._configured = False

    def start(self) -> None:
        """Bring it up. Raises Unavailable where that cannot be, RuntimeError where a daemon does not come up."""
        _may_run()
        _install()
        for name in ("state", *NODES):
            (self.folder / name).mkdir()
        host = socket.gethostname().split(".")[0]
        nodes = [
            NODE.format(name=name, host=host, port=16_820 + number, cpus=CPUS, memory=MEMORY)
            for number, name in enumerate(NODES)
        ]
        names = ",".join(NODES)
        text = SLURM_CONF.format(host=host, folder=self.folder, nodes="\n".join(nodes), names=names)
        CONFIG.mkdir(exist_ok=True)
        self._configured = True
        (CONFIG / "slurm.conf").write_text(OURS + text)
        (CONFIG / "gres.conf").write_text(OURS + GRES_CONF)
        self._start_munge()
        self._daemon("slurmctld", "-D")
        for name in NODES:
            self._daemon("slurmd", "-D", "-N", name)
        asked = ("sinfo", "--noheader", "--Node", "--partition=main", "--format=%T")
        self._wait(lambda: _told(*asked).split() == ["idle"] * len(NODES), "nodes that are idle")

    def _start_munge(self) -> None:
        """Start munged, which vouches for who asks, unless one answers already."""
        if _told("munge", "--no-input"):
            return
        user = pwd.getpwnam("munge")
        for place in ("/run/munge", "/var/log/munge", "/var/lib/munge"):
            Path(place).mkdir(exist_ok=True)
            os.chown(place, user.pw_uid, user.pw_gid)
        as_munge = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
        self._daemon("munged", "--foreground", "--force", how=as_munge)
        self._wait(lambda: bool(_told("munge", "--no-input")), "munged")

    def _daemon(self, program: str, *arguments: str, how: tuple[str, ...] = ()) -> None:
        """Start a daemon that ends when this process does, in a group of its own."""
        path = shutil.which(program, path=_where())
        with (self.folder / f"{program}{len(self._daemons)}.log").open("w") as log:
            command = ["setpriv", "--pdeathsig=TERM", *how, path, *arguments]
            self._daemons.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))

    def stop(self) -> None:
        """Cancel all jobs, end the daemons, the last one first, and remove what was written to /etc/slurm."""
        try:
            if len(self._daemons) > 1:
                _told("scancel", "--user=root", "--signal=KILL")
                _told("scancel", "--user=root")
                with contextlib.suppress(RuntimeError):
                    self._wait(lambda: not _told("squeue", "--noheader"), "an empty queue")
        finally:
            for daemon in reversed(self._daemons):
                daemon.terminate()
                try:
                    daemon.wait(SOON)
                except subprocess.TimeoutExpired:
                    os.killpg(daemon.pid, signal.SIGKILL)
                    daemon.wait()
            if self._configured:  # else they are those of a test that runs beside this one
                _remove_ours()

    def _wait(self, holds: Callable[[], bool], what: str) -> None:
        give_up = time.monotonic() + SOON
        while not holds():
            dead = [daemon.args for daemon in self._daemons if daemon.poll() is not None]
            if dead or time.monotonic() > give_up:
                logs = "\n".join(log.read_text()[-2000:] for log in sorted(self.folder.glob("*.log")))
                raise RuntimeError(f"SLURM: no {what} within {SOON} s; ended: {dead}\n{logs}")
            time.sleep(0.1)

    def jobs(self, after: int = 0) -> list[Job]:
        """Return the jobs with a number above `after`, the oldest first."""
        told = _told("scontrol", "--oneliner", "show", "job")
        jobs = [_job(line) for line in told.splitlines() if line.startswith("JobId=")]
        return sorted((job for job in jobs if job.number > after), key=lambda job: job.number)

    def last(self) -> int:
        """Return the number of the newest job, or 0."""
        return max((job.number for job in self.jobs()), default=0)

    def rules(self, after: int = 0) -> Counter:
        """Count the jobs above `after` by rule, those of an urgent stranger left out."""
        return Counter(job.rule for job in self.jobs(after) if job.partition == "main")

    def running(self, rule: str) -> Job | None:
        """Return the newest running job of a rule."""
        return next((job for job in reversed(self.jobs()) if (job.rule, job.state) == (rule, "RUNNING")), None)

    def cancel(self, job: Job) -> None:
        """Do what `scancel` does."""
        subprocess.run(["scancel", str(job.number)], check=True, timeout=SOON)

    def take_all_gpus(self) -> None:
        """Have an urgent job take the GPU of both nodes for a moment: what runs there is preempted."""
        wanted = ["--partition=urgent", "--nodes=2", "--gres=gpu:1", "--output=/dev/null", "--wrap=sleep 1"]
        subprocess.run(["sbatch", *wanted], check=True, timeout=SOON, stdout=subprocess.DEVNULL)


def _may_run() -> None:
    """Raise Unavailable where a cluster cannot, or must not, be set up."""
    if os.geteuid() != 0:
        raise Unavailable("SLURM's daemons are started by root, and this is not root")
    if not shutil.which("apt-get") and not all(shutil.which(name, path=_where()) for name in PROGRAMS):
        raise Unavailable("SLURM is not installed, and there is no apt-get to install it")
    for name in ("slurm.conf", "gres.conf"):
        file = CONFIG / name
        if file.exists() and not file.read_text(errors="replace").startswith(OURS):
            raise Unavailable(f"{file} is there: this machine belongs to a cluster, which is left alone")
    if _told("scontrol", "ping").count("UP"):
        raise Unavailable("a SLURM runs here already")
    _remove_ours()  # left by a test that was killed


def _install() -> None:
    """Install the packages that are missing. Raises Unavailable with what apt-get said."""
    if all(shutil.which(name, path=_where()) for name in PROGRAMS):
        return
    install = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", *PACKAGES]
    variables = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    done = None
    for command in (install, ["apt-get", "update", "--quiet"], install):  # the lists may be missing, or old
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)
        if done and command is install and done.returncode == 0:
            return
    said = (done.stderr.strip().splitlines() if done else []) or ["no answer"]
    raise Unavailable(f"apt-get could not install {', '.join(PACKAGES)}: {said[-1]}")


def _remove_ours() -> None:
    for name in ("slurm.conf", "gres.conf"):
        file = CONFIG / name
        if file.exists() and file.read_text(errors="replace").startswith(OURS):
            file.unlink()


def _where() -> str:
    """Return where programs are looked for: daemons lie in sbin."""
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def _told(*command: str) -> str:
    """Return what a command prints, or "" where it is missing or goes wrong."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SOON, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _job(line: str) -> Job:
    """Read a line of `scontrol --oneliner show job`."""
    known = dict(re.findall(r"(\S+?)=(\S*)", line))
    asked = dict(re.findall(r"(\w+)=([^,]*)", known.get("TRES", "")))
    days, hours, minutes = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):\d+", known["TimeLimit"]).groups()
    rule = re.match(r"rule_(.+?)(?:_wildcards_|$)", known.get("Comment", ""))
    return Job(
        number=int(known["JobId"]),
        rule=rule[1] if rule else "",
        state=known["JobState"],
        partition=known["Partition"],
        restarts=int(known["Restarts"]),
        nodes=int(asked.get("node", 1)),
        cpus=int(asked.get("cpu", 0)),
        memory=_megabytes(asked.get("mem", "0")),
        limit=(int(days or 0) * 24 + int(hours)) * 60 + int(minutes),
        gpus=known.get("TresPerNode", "").removeprefix("gres:"),
    )


def _megabytes(text: str) -> int:
    """Read SLURM's memory: 1500M, 16G."""
    number, unit = re.fullmatch(r"([\d.]+)([MGT]?)", text).groups()
    return round(float(number) * {"": 1, "M": 1, "G": 1024, "T": 1024**2}[unit])
