"""The description of a cluster, one class a kind: typed, frozen, checked on construction."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from cluster.address import split_address, split_jobs_url
from cluster.groups import CustomResources, InstanceGroup, PodGroup
from rocore.config import NonNegative, Positive, Section, explain, nearest, read_yaml
from rocore.errors import ConfigError

FOLDER = Path("configs/cluster")
TIME_LIMIT = re.compile(r"(\d+-)?\d+:[0-5]\d:[0-5]\d")
KUBERNETES_NAME = re.compile(r"[A-Za-z]([A-Za-z0-9-]{0,51}[A-Za-z0-9])?")
"""KubeRay makes services of 63 characters at most from it, whose names begin with a letter."""


class ClusterDescription(Section):
    """What every kind of cluster says."""

    name: Annotated[str, Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$")]
    """What messages, nodes and pods call it: letters, digits and hyphens."""
    kind: str
    """local, existing, ssh, aws, gcp, kubernetes or slurm."""
    cpus_per_trial: Positive | None = None
    """CPU share of a trial there. Null: what the sweep's file says."""
    gpus_per_trial: NonNegative | None = None
    """GPU share of a trial there. Null: what the sweep's file says."""

    @property
    def ray_address(self) -> str | None:
        """What the sweep connects to, where it runs; None: a Ray of its own."""
        return None


class LocalCluster(ClusterDescription):
    """A Ray of its own on this machine."""

    kind: Literal["local"]


class JobsCluster(ClusterDescription):
    """A cluster whose sweeps go through Ray Jobs."""

    environment: Literal["installed", "packaged"] | None = None
    """installed: the sweep runs in `project`. packaged: it runs in a copy of this machine's project, which travels with
    it as the job's runtime environment. Null: installed where `project` is given."""
    packages: Literal["lock", "none"] = "lock"
    """packaged: lock installs requirements.lock on every node (once, then kept by Ray); none counts on what Ray's own
    Python has there."""
    visible: tuple[str, ...] = ()
    """More folders that every node sees under the same path: data or an encoder may lie there."""


class ExistingCluster(JobsCluster):
    """A Ray that somebody else started."""

    kind: Literal["existing"]
    address: str | None = Field(default=None, validate_default=True)
    """host:port of the Ray's head; may be left out where there is `jobs`. Without `jobs` this machine must be a node of
    it (`ray start --address=...`)."""
    jobs: str | None = None
    """http://host:port of its dashboard: sweeps run there, as Ray Jobs. Null: in the foreground, on this machine."""
    project: str | None = None
    """With `jobs`: folder of this project on every node; its virtual environment is .venv in it."""
    shared: str | None = None
    """Folder that every node sees under this path; sweeps lie there, but on a Ray of this machine alone (a loopback
    address without `jobs`). Null: their --out is a URL."""

    @field_validator("address")
    @classmethod
    def _check_address(cls, address: str | None) -> str | None:
        if address is not None:
            split_address(address)
        return address

    @field_validator("jobs")
    @classmethod
    def _check_jobs(cls, jobs: str | None) -> str | None:
        if jobs is not None:
            split_jobs_url(jobs)
        return jobs

    @model_validator(mode="after")
    def _check_together(self) -> "ExistingCluster":
        if self.address is None and self.jobs is None:
            raise ValueError(
                "`address` must be host:port of the Ray head, or `jobs` http://host:port of its dashboard, but neither "
                "is given; for example address: 10.0.0.5:6379"
            )
        if self.jobs is None and self.environment == "packaged":
            raise ValueError(
                "`environment: packaged` must come with `jobs`, but there is none; name http://host:port of the Ray's "
                "dashboard"
            )
        if self.jobs is not None and self.environment == "installed" and self.project is None:
            raise ValueError(
                "`environment: installed` must come with `project`, the folder of this project on every node, but it "
                "isn't given; name it, or set `environment: packaged`"
            )
        return self

    @property
    def ray_address(self) -> str | None:
        """The address; as a job, the sweep runs on that Ray itself."""
        return "auto" if self.jobs is not None else self.address


class RemoteCluster(ClusterDescription):
    """A Ray that we start on other machines; the sweep runs beside its head."""

    project: str
    """Folder of this project on every node; its virtual environment is .venv in it. Where `environment` is packaged,
    the virtual environment alone."""
    shared: str
    """Folder that every node sees under this path: sweeps and data lie there. Trunks stay on each node's own disk."""
    visible: tuple[str, ...] = ()
    """More folders that every node sees under the same path: data or an encoder may lie there."""
    setup: tuple[str, ...] = ()
    """Shell commands that every node runs before Ray starts. slurm: in the shell that starts Ray, so that modules and
    exports reach it. ssh, aws, gcp: once a machine, each in a shell of its own: mounts, the project's `make setup`;
    what Ray must find in its environment belongs into the machine's ~/.bashrc. kubernetes: none; the image has it."""

    @property
    def ray_address(self) -> str:
        """The Ray that the sweep's machine belongs to; `RAY_ADDRESS` may name it."""
        return "auto"


class LaunchedCluster(RemoteCluster, JobsCluster):
    """A cluster that Ray's own launcher starts over SSH."""

    ssh_user: str
    """Who logs in on every node."""
    ssh_private_key: str | None = None
    """Path of a key file on this machine. Null: what ssh itself would use."""
    expose: bool = False
    """Whether the dashboard, which runs code for whoever reaches it, listens beyond its machine."""


class SshCluster(LaunchedCluster):
    """Machines of one's own."""

    kind: Literal["ssh"]
    head: str
    """Host name or address."""
    workers: tuple[str, ...]
    """Host names or addresses."""


class CloudCluster(LaunchedCluster):
    """Machines of a cloud; their number follows the trials that wait."""

    region: str
    """For example us-east-1 (aws) or us-central1 (gcp)."""
    zone: str | None = None
    """Availability zone; gcp needs one."""
    image: str
    """aws: AMI; gcp: source image."""
    disk_gib: Annotated[int, Field(ge=20)] = 100
    """System disk of every machine."""
    head: str
    """Machine type of the head, which is on demand: it runs the sweep."""
    groups: Annotated[dict[str, InstanceGroup], Field(min_length=1)]
    """Workers by name; `head` is taken."""
    idle_minutes: Positive = 10
    """An idle worker is given back after this time."""

    @field_validator("groups")
    @classmethod
    def _check_groups(cls, groups: dict[str, InstanceGroup]) -> dict[str, InstanceGroup]:
        if "head" in groups:
            raise ValueError(
                "a group of workers mustn't be called `head`, as the sweep's machine is; rename it"
            )
        return groups


class AwsCluster(CloudCluster):
    """Amazon EC2."""

    kind: Literal["aws"]
    key_name: str | None = None
    """Name in EC2 of the key pair that `ssh_private_key` belongs to; both or neither. Null: Ray makes a key pair."""
    instance_profile: (
        Annotated[str, Field(pattern=r"^(arn:[a-z-]+:iam::\d+:instance-profile/)?[A-Za-z0-9_+=,.@/-]+$")]
        | None
    ) = None
    """Instance profile of every machine, by name or ARN: what its role may do is what nodes may, S3 included. Null: Ray
    makes a role for the head alone, and workers have none."""

    @model_validator(mode="after")
    def _check_key(self) -> "AwsCluster":
        if (self.key_name is None) != (self.ssh_private_key is None):
            lacking = "key_name" if self.key_name is None else "ssh_private_key"
            raise ValueError(
                "`ssh_private_key` and `key_name`, what EC2 calls that key pair, must be given together, but "
                f"`{lacking}` isn't; give it, or leave both out: Ray then makes a key pair"
            )
        return self


class GcpCluster(CloudCluster):
    """Google Compute Engine."""

    kind: Literal["gcp"]
    project_id: str
    """The cloud's project."""
    zone: str
    service_account: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    """E-mail of the workers' service account: what it may do is what they may, Cloud Storage included. Null: workers
    have none. The head has the one that Ray makes, which may start machines and use storage."""

    @model_validator(mode="after")
    def _check_cpus(self) -> "GcpCluster":
        for name, group in self.groups.items():
            if group.cpus is None and group.min_nodes < group.max_nodes:
                raise ValueError(
                    f"`groups.{name}.cpus` must say how many CPUs a machine has where machines come and go "
                    f"(`min_nodes` {group.min_nodes} of {group.max_nodes}), but isn't given: on gcp Ray can't "
                    "know, and would start none; set it, for example cpus: 4 for n1-standard-4"
                )
        return self


class KubernetesCluster(RemoteCluster):
    """KubeRay's RayCluster, and a RayJob for one sweep."""

    kind: Literal["kubernetes"]
    image: str
    """Image with this project installed, in `project`."""
    namespace: str = "default"
    """Kubernetes namespace."""
    service_account: str | None = None
    """Of the pods."""
    env_from_secret: (
        Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$", max_length=253)] | None
    ) = None
    """Name of a secret in the namespace, whose keys are environment variables of every pod: credentials of an object
    store (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)."""
    volume_claim: str
    """Claim of a volume that many pods may write to; mounted at `shared`."""
    head: PodGroup
    """The pod that runs the sweep and no trials."""
    groups: Annotated[dict[str, PodGroup], Field(min_length=1)]
    """Worker pods by name."""

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        if KUBERNETES_NAME.fullmatch(name) is None:
            raise ValueError(
                f"`name` must begin with a letter, end with a letter or digit and have 53 characters at most on "
                f"kubernetes, whose services are called after it, but is {name!r}; rename the file, or set `name`"
            )
        return name

    @field_validator("setup")
    @classmethod
    def _check_setup(cls, setup: tuple[str, ...]) -> tuple[str, ...]:
        if setup:
            raise ValueError(
                f"`setup` must be empty on kubernetes, where pods begin with what is in their image, but holds "
                f"{setup[0]!r}; build it into `image`"
            )
        return setup


class SlurmCluster(RemoteCluster):
    """A Slurm allocation: one job starts Ray on all its nodes and runs one sweep."""

    kind: Literal["slurm"]
    nodes: Annotated[int, Field(ge=1)]
    """Nodes of the job."""
    cpus_per_node: Annotated[int, Field(ge=1)]
    """CPUs of a node."""
    gpus_per_node: Annotated[int, Field(ge=0)] = 0
    """GPUs of a node."""
    resources: CustomResources = Field(default_factory=dict)
    """Custom resources of a node by name."""
    time_limit: str
    """[days-]hours:minutes:seconds; two minutes before it, the sweep stops cleanly, to be submitted again."""
    partition: str | None = None
    """Of the job."""
    account: str | None = None
    """To charge."""

    @field_validator("time_limit", mode="before")
    @classmethod
    def _check_time_limit(cls, limit: object) -> object:
        if not isinstance(limit, str) or TIME_LIMIT.fullmatch(limit) is None:
            raise ValueError(
                f"`time_limit` must be hours:minutes:seconds in quotes, with days and a hyphen before if need be, but "
                f"is {limit!r} (YAML reads 4:00:00 without quotes as a number, and Slurm 4:00 as minutes:seconds); for "
                'example "4:00:00" or "1-12:00:00"'
            )
        return limit


KINDS: dict[str, type[ClusterDescription]] = {
    "local": LocalCluster,
    "existing": ExistingCluster,
    "ssh": SshCluster,
    "aws": AwsCluster,
    "gcp": GcpCluster,
    "kubernetes": KubernetesCluster,
    "slurm": SlurmCluster,
}


def load_description(name_or_file: str, overrides: Mapping[str, Any] | None = None) -> ClusterDescription:
    """Read a cluster description by its name in configs/cluster/ or by its path.

    Raises:
        ConfigError: If there is none, or a key or value is wrong.
    """
    path = _find(name_or_file)
    tree = {"name": path.stem, **read_yaml(path), **(overrides or {})}
    kind = KINDS.get(str(tree.get("kind")))
    if kind is None:
        raise ConfigError(
            f"`kind` must be one of {', '.join(KINDS)}, but is {tree.get('kind')!r} in {path}; "
            f"{nearest(str(tree.get('kind')), list(KINDS))}"
        )
    try:
        return kind.model_validate(tree)
    except ValidationError as error:
        raise explain(error, kind, str(path)) from error


def _find(name_or_file: str) -> Path:
    path = Path(name_or_file)
    if path.suffix in {".yaml", ".yml"} or path.is_file():
        return path
    named = FOLDER / f"{name_or_file}.yaml"
    if not named.is_file():
        names = sorted(file.stem for file in FOLDER.glob("*.yaml"))
        hint = nearest(name_or_file, names) if names else f"there are none in {FOLDER.absolute()}"
        raise ConfigError(
            f"a cluster must be a name in {FOLDER}/ or a YAML file, but got {name_or_file!r}; {hint}"
        )
    return named
