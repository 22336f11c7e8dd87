"""Starting jobs through submitit: as processes of this machine, or on a Slurm cluster."""

import contextlib
import os
import signal
from pathlib import Path

import psutil
import submitit
import torch

from latent_trainer.errors import InputError, check_choice
from latent_trainer.sweep.job import PointJob

MONTH = 30 * 24 * 60  # minutes; a local process has no limit of its own
DEAD = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT")
SLURM = (
    *("account", "partition", "qos", "constraint", "gres", "time", "mem_gb", "cpus_per_task", "gpus_per_node", "nodelist"),
    *("exclude", "exclusive", "setup", "mail_type", "mail_user", "comment"),
)


class LocalLauncher:
    """Processes of this machine, as many at a time as cores, GPUs and memory allow.

    Args:
        folder: of submitit's files and the logs.
        cores: processor cores of a point.
        gpus: GPUs of a point.
        memory_gb: memory a point needs; None does not count it.
        parallel: points at a time at most; None is as many as fit.

    Raises:
        ValueError: a single point does not fit.
    """

    def __init__(
        self, folder: Path, cores: int = 1, gpus: int = 0, memory_gb: float | None = None, parallel: int | None = None
    ):
        self.executor = submitit.LocalExecutor(folder)
        self.gpus = gpus
        self.free_gpus = list(range(torch.cuda.device_count()))
        memory = psutil.virtual_memory().total / 1e9
        limits = {"cores": (len(os.sched_getaffinity(0)), cores)}
        limits |= {"gpus": (len(self.free_gpus), gpus)} if gpus else {}
        limits |= {"memory_gb": (memory, memory_gb)} if memory_gb else {}
        for name, (there, needed) in limits.items():
            if needed > there:
                raise InputError(f"{name}={needed} of a point is more than the {there:.0f} of this machine; lower it")
        self.slots = min(int(there // needed) for there, needed in limits.values())
        self.slots = self.slots if parallel is None else min(self.slots, parallel)
        self._used: dict[str, list[int]] = {}

    def submit(self, function: PointJob, specs: list[dict]) -> list[submitit.Job]:
        """Start a process a spec and return them."""
        jobs = []
        for spec in specs:
            taken = [self.free_gpus.pop() for _ in range(self.gpus)]
            self.executor.update_parameters(gpus_per_node=self.gpus, visible_gpus=tuple(taken), timeout_min=MONTH)
            job = self.executor.submit(function, spec)
            self._used[job.job_id] = taken
            jobs.append(job)
        return jobs

    def attach(self, job_id: str) -> submitit.Job:
        """Return a job of an earlier sweep."""
        job = submitit.LocalJob(self.executor.folder, job_id)
        if self.alive(job):
            taken = psutil.Process(int(job_id)).environ().get("CUDA_VISIBLE_DEVICES", "")
            self._used[job_id] = [int(gpu) for gpu in taken.split(",") if gpu]
            self.free_gpus = [gpu for gpu in self.free_gpus if gpu not in self._used[job_id]]
        return job

    def alive(self, job: submitit.Job) -> bool:
        """Return whether a job still runs; that of an earlier sweep is found by its process."""
        if job._process is not None:
            alive = job._process.poll() is None
        else:
            alive = psutil.pid_exists(int(job.job_id)) and self._is_ours(int(job.job_id))
        if not alive:
            self.free_gpus += self._used.pop(job.job_id, [])
        return alive

    def _is_ours(self, process: int) -> bool:
        """Return whether a process is one of this sweep's; its number may have gone to another since."""
        try:
            return str(self.executor.folder) in psutil.Process(process).cmdline()
        except psutil.NoSuchProcess:
            return False

    def cancel(self, jobs: list[submitit.Job]) -> None:
        """End jobs and wait until they have ended."""
        ended = []
        for job in jobs:
            with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended by itself
                process = psutil.Process(int(job.job_id))
                if self.alive(job):
                    process.send_signal(signal.SIGINT)
                    ended.append(process)
        _, left = psutil.wait_procs(ended, timeout=15)
        # a sweep started with interrupts ignored has jobs that ignore them too
        left = [one for process in left for one in (*process.children(recursive=True), process)]
        for process in left:
            process.kill()
        psutil.wait_procs(left)


class SlurmLauncher:
    """Jobs of a Slurm cluster: those that are begun together are one job array.

    Args:
        folder: of submitit's files and the logs, on a file system the nodes share.
        options: of ``sbatch`` (``SLURM``), ``time`` in minutes; a preempted job is queued again.
        parallel: points at a time at most.
        requeues: times a job that ran out of time is started again.

    Raises:
        ValueError: an unknown option, or no Slurm on this machine.
    """

    def __init__(self, folder: Path, options: dict, parallel: int = 64, requeues: int = 10):
        for name in options:
            check_choice("slurm option", name, SLURM)
        if submitit.SlurmExecutor.affinity() < 0:
            raise InputError(
                "executor=slurm, but this machine has no srun; run the sweep on a login node, or executor=local"
            )
        self.executor = submitit.SlurmExecutor(folder, max_num_timeout=requeues)
        options = {**options, "mem": f"{options['mem_gb']}GB"} if "mem_gb" in options else dict(options)
        options.pop("mem_gb", None)
        self.executor.update_parameters(
            job_name="latent-trainer",
            array_parallelism=parallel,
            additional_parameters={"requeue": True},
            **options,
        )
        self.slots = parallel

    def submit(self, function: PointJob, specs: list[dict]) -> list[submitit.Job]:
        """Submit one job array, or a single job, and return its jobs."""
        with self.executor.batch():
            return [self.executor.submit(function, spec) for spec in specs]

    def attach(self, job_id: str) -> submitit.Job:
        """Return a job of an earlier sweep."""
        return submitit.SlurmJob(self.executor.folder, job_id)

    def alive(self, job: submitit.Job) -> bool:
        """Return whether Slurm still waits for a job or runs it; a job that it does not tell about counts as alive."""
        if job.paths.result_pickle.exists():
            return False
        return job.watcher.get_state(job.job_id).split()[0].rstrip("+") not in DEAD

    def cancel(self, jobs: list[submitit.Job]) -> None:
        """Cancel jobs that have not ended."""
        for job in jobs:
            job.cancel(check=False)
