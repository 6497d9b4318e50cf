"""The section `data` of a configuration."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from rocore.config_types import Count, Files, NonNegative, Place, Positive, Section


class BuiltinConfig(Section):
    """The built-in synthetic corpus (`data.format: builtin`)."""

    num_known_relations: Annotated[int, Field(ge=2, le=20)] = 16
    """Relations with labels; the rest of the 24 can be novel."""
    num_novel_relations: Annotated[int, Field(ge=2, le=20)] = 8
    """Relations to discover."""
    instances_per_relation: Annotated[int, Field(ge=8, le=2000)] = 120
    """Sentences generated for each relation."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the generator; apart from the run's seed, so that seeds share the data."""


class PseudoNovelConfig(Section):
    """Hide some known relations and treat their instances as unlabeled (the search's honest objective)."""

    num_relations: Annotated[int, Field(ge=2)]
    """How many known relations are hidden."""
    fold: Annotated[int, Field(ge=0)] = 0
    """Which of the disjoint groups of hidden relations."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the grouping, and of whatever else is drawn here; fixed across trials."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of each known relation's instances that is used at all, hidden or not: a cheaper, smaller task."""
    instances_per_relation: Literal["equal", "real"] | Annotated[int, Field(ge=2)] | None = None
    """Of each hidden relation: the smallest one's (equal), at most the real mean, or a number. Null: all."""
    labeled_per_epoch: Literal["real"] | Count | None = None
    """Labeled instances that an epoch visits. real: as many as before hiding. Null: each once."""
    read_novel: bool = False
    """Cluster as many sentences of `novel` beside the hidden ones. Their relations aren't read, nor are they scored."""

    @property
    def opens_novel(self) -> bool:
        """Whether anything of `novel` is asked for: sentences or their number."""
        return self.read_novel or self.instances_per_relation == "real"


class ResplitConfig(Section):
    """Deal all relations of `known` and `novel` together into known and novel ones anew; every instance needs one."""

    num_novel_relations: Annotated[int, Field(ge=2)]
    """How many are drawn as novel, their instances unlabeled; all others are known."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the draw; apart from the run's seed, so that seeds share the task and can be compared in pairs."""


class SubsetConfig(Section):
    """Use a part of the labeled instances; a larger number contains what a smaller one chooses."""

    num_known_relations: Annotated[int, Field(ge=2)] | None = None
    """Known relations that are kept; the others are left out altogether. Null: all."""
    instances_per_relation: Annotated[int, Field(ge=2)] | None = None
    """Labeled instances of a known relation to train on, at most. Null: all."""
    num_labeled: Annotated[int, Field(ge=4)] | None = None
    """Labeled instances to train on, spread over the known relations evenly. Known test ones come on top. Null: all."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the choice; apart from the run's seed, so that seeds share the data and can be compared in pairs."""


class DataConfig(Section):
    """Where sentences come from, what is used of them and how they are split."""

    format: Literal["builtin", "fewrel", "tacred", "jsonl"] = "builtin"
    """Reader."""
    novel_format: Literal["fewrel", "tacred", "jsonl"] | None = None
    """Reader of `novel`. Null: `format`."""
    root: Place = "."
    """Folder that `known` and `novel` are relative to; itself relative to the working directory. Or its URL."""
    known: Files = ()
    """File or files with known relations; a glob must match exactly one file."""
    novel: Files = ()
    """File or files with novel relations; for `tacred` the same files may serve both. None needed with `resplit`."""
    num_novel_relations: Annotated[int, Field(ge=2)] | None = None
    """C_u. Null: counted from the gold relations where the file has them."""
    novel_test_size: Positive | None = None
    """Novel test instances: a fraction below 1 or a count. Null: the paper's (FewRel 1/7, TACRED 0.15)."""
    known_test_size: NonNegative | None = None
    """Known test instances: a fraction below 1 or a count. Null: none (the paper uses all), 1/7 in incremental mode."""
    max_file_mib: Positive = 2048.0
    """Largest data file, in MiB: a wrong name must not fill the memory."""
    max_sentence_characters: Count = 20_000
    """Longest sentence, in characters, words joined by single spaces; the encoder reads `encoder.max_pieces` of it."""
    builtin: BuiltinConfig = BuiltinConfig()
    """The generator's own keys."""
    resplit: ResplitConfig | None = None
    """Other known and novel relations than the files say."""
    subset: SubsetConfig | None = None
    """Fewer labeled instances than the files hold."""
    pseudo_novel: PseudoNovelConfig | None = None
    """Set by the search: hide known relations. `novel` is opened where this section or `resplit` asks for it."""

    @field_validator("known", "novel", mode="before")
    @classmethod
    def _one_file_is_a_list_of_one(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check_files(self) -> "DataConfig":
        if self.format == "builtin":
            if self.novel_format is not None:
                raise ValueError(
                    f"`data.novel_format` must be null where `data.format` is builtin, but is {self.novel_format}; "
                    "the built-in corpus makes both roles: set `data.format`, too"
                )
        else:
            if not self.known:
                raise ValueError(
                    "`data.known` must name a file, but is empty; name the file with known relations"
                )
            needs_novel = self.pseudo_novel is None or self.pseudo_novel.opens_novel
            if not self.novel and needs_novel and self.resplit is None:
                raise ValueError(
                    "`data.novel` must name a file, but is empty; name the file with novel instances"
                )
        return self

    def format_of(self, role: str) -> str:
        """Return the format of `known` or `novel`."""
        return (self.novel_format if role == "novel" else None) or self.format
