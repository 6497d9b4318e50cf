"""Groups of equal nodes in a description, and what a node has."""

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from rocore.config import Positive, Section

OWN_RESOURCES = ("CPU", "GPU", "memory", "object_store_memory")
"""Resources that Ray counts itself."""


def _check_custom(resources: dict[str, int]) -> dict[str, int]:
    for name in resources:
        if name in OWN_RESOURCES:
            raise ValueError(
                f"`resources` must name custom resources alone, but names {name}, which Ray counts itself; "
                "say how many CPUs and GPUs a node has with their own keys"
            )
    return resources


CustomResources = Annotated[
    dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$")], Annotated[int, Field(ge=1)]],
    AfterValidator(_check_custom),
]
"""Amounts of Ray's custom resources by name; trials ask for them with the sweep's `resources.custom`."""


class InstanceGroup(Section):
    """Cloud machines of one kind."""

    instance: str
    """Machine type, in the cloud's words."""
    min_nodes: Annotated[int, Field(ge=0)] = 0
    """Kept even if idle."""
    max_nodes: Annotated[int, Field(ge=1)]
    """At most."""
    spot: bool = False
    """Cheaper machines that the cloud may take away at any time: sweeps go on on others."""
    accelerator: str | None = None
    """gcp: type of its GPUs, for example nvidia-tesla-t4; on aws the instance says it."""
    num_accelerators: Annotated[int, Field(ge=1)] = 1
    """gcp: GPUs of a machine that has some."""
    cpus: Annotated[int, Field(ge=1)] | None = None
    """CPUs of a machine. Null: what the cloud says of the instance, which Ray asks on aws alone; gcp needs it."""
    gpus: Annotated[int, Field(ge=0)] | None = None
    """GPUs of a machine. Null: what the cloud says of the instance (aws), or those of `accelerator` (gcp)."""
    resources: CustomResources = Field(default_factory=dict)
    """Custom resources of a machine by name."""

    @model_validator(mode="after")
    def _check_bounds(self) -> "InstanceGroup":
        if self.min_nodes > self.max_nodes:
            raise ValueError(
                f"`min_nodes` must be at most `max_nodes`, but is {self.min_nodes} of {self.max_nodes}; lower it"
            )
        return self


class PodGroup(Section):
    """Pods of one kind."""

    cpus: Positive
    """CPUs of a pod."""
    memory_gib: Positive
    """Memory of a pod."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs of a pod (nvidia.com/gpu)."""
    min_nodes: Annotated[int, Field(ge=0)] = 0
    """Kept even if idle."""
    max_nodes: Annotated[int, Field(ge=1)] = 1
    """At most."""
    node_selector: dict[str, str] = Field(default_factory=dict)
    """Labels of the Kubernetes nodes that may run them."""
    resources: CustomResources = Field(default_factory=dict)
    """Custom resources of a pod by name."""
