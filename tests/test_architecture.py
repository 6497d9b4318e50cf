"""The rules of CONTRIBUTING.md that a program can check: who imports whom, sizes, and what no file may hold.

Each rule is a function from a module to the violations in it, so that a test can show that it catches one.
"""

import ast
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

from rocore import config

ROOT = Path(__file__).parents[1]
PACKAGES = ("rocore", "tune", "cluster")
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60

PUBLIC_TO_TUNE = {
    "rocore",
    "rocore.config",
    "rocore.errors",
    "rocore.data.instance",
    "rocore.commands.options",
}
"""Modules of rocore/ that tune/ may import."""
PUBLIC_TO_CLUSTER = {"rocore.config", "rocore.errors", "rocore.outputs", "rocore.streams"}
"""Modules of rocore/ that cluster/ may import."""


@dataclass(frozen=True)
class Module:
    """A Python file, by its path from the root of the project."""

    path: str
    text: str

    @cached_property
    def tree(self):
        return ast.parse(self.text)

    @property
    def package(self):
        return self.path.split("/")[0]

    @property
    def first_line(self):
        return (ast.get_docstring(self.tree) or "").split("\n")[0]

    @cached_property
    def imports(self):
        """Full names of everything imported, at any depth of the file: `from a.b import c` gives `a.b.c`."""
        return sorted(set(self._imports()))

    def _imports(self) -> Iterator[str]:
        parents = self.path.removesuffix(".py").split("/")
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = (
                    ".".join([*parents[: -node.level], node.module or ""]).strip(".")
                    if node.level
                    else node.module
                )
                yield from (f"{base}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"}:
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    yield first.value


def _called(node):
    return getattr(node.func, "id", None) or getattr(node.func, "attr", None)


def _top(name):
    return name.split(".")[0]


def read_modules(*folders):
    """Return all Python files below folders of the project."""
    paths = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return [Module(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in paths]


@cache
def modules_of_rocore():
    """Return the dotted names of all modules in rocore/."""
    names = (module.path.removesuffix(".py").removesuffix("/__init__") for module in read_modules("rocore"))
    return {name.replace("/", ".") for name in names} | PUBLIC_TO_TUNE | PUBLIC_TO_CLUSTER


def _is_private(name, public):
    """Whether an imported name stands in a module of rocore/ that isn't public."""
    if _top(name) != "rocore":
        return False
    while name not in modules_of_rocore():
        name = name.rpartition(".")[0]
    return name not in public


def upward_imports(module):
    """rocore/ knows neither the search nor the cluster, nor their libraries."""
    forbidden = {"ray", "optuna", "tune", "cluster"}
    return [name for name in module.imports if module.package == "rocore" and _top(name) in forbidden]


def private_imports_of_tune(module):
    """tune/ imports rocore by its public names, and cluster not at all."""
    if module.package != "tune":
        return []
    return [name for name in module.imports if _top(name) == "cluster" or _is_private(name, PUBLIC_TO_TUNE)]


def private_imports_of_cluster(module):
    """cluster/ imports rocore's errors and configuration, and tune not at all."""
    if module.package != "cluster":
        return []
    return [name for name in module.imports if _top(name) == "tune" or _is_private(name, PUBLIC_TO_CLUSTER)]


def unannounced_search_imports(module):
    """Ray is imported in tune/ and cluster/, Optuna in tune/, by files that say so in name or first line."""
    found = []
    for library, packages in (("ray", ("tune", "cluster")), ("optuna", ("tune",))):
        name = module.path.split("/")[-1]
        announced = library in name or f"imports {library}" in module.first_line.lower()
        if not (module.package in packages and announced):
            found += [imported for imported in module.imports if _top(imported) == library]
    return found


def prints(module):
    """Libraries return, commands use click.echo."""
    calls = (node for node in ast.walk(module.tree) if isinstance(node, ast.Call))
    return [
        f"line {node.lineno}" for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def star_imports(module):
    """A name's origin must be seen."""
    nodes = (node for node in ast.walk(module.tree) if isinstance(node, ast.ImportFrom))
    return [f"line {node.lineno}" for node in nodes if any(alias.name == "*" for alias in node.names)]


def nameless_modules(module):
    """A module is called by what it is about."""
    name = Path(module.path).stem.strip("_")
    return [name] if name in {"utils", "util", "helpers", "misc", "common"} else []


LOADERS_OF_CODE = {
    "pickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "get_pickled_error",
    "read_pickle",
    "torch.load",
    "torch.jit",
    "torch.hub",
    "torch.package",
    "yaml.load",
    "yaml.load_all",
    "yaml.full_load",
    "yaml.unsafe_load",
    "yaml.Loader",
    "yaml.UnsafeLoader",
}
"""Names, or their dotted ends, of what can run code that a file holds."""
TRUSTED = {("tune/ray_callbacks.py", "cloudpickle")}
"""Ray gives its listeners a lost process's error as a pickle alone. The one that is read was written by the sweep's own
process a moment before, into a folder of its user; the copy in the sweep's storage is never opened."""
SAFELY = {
    "from_pretrained": {"trust_remote_code": False},
    "np.load": {"allow_pickle": False},
    "numpy.load": {"allow_pickle": False},
}
"""Calls that must say so: by default they could run code, or ask whether they may."""
MODELS_SAFELY = {"use_safetensors": True}


def loaders_of_code(module):
    """Nothing that is read from a disk or a store can run code."""
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            origin = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            found += [(node, f"{origin}{alias.name}") for alias in node.names]
        elif isinstance(node, ast.Attribute | ast.Name):
            found.append((node, ast.unparse(node)))
    names = [(node.lineno, _loader_in(name)) for node, name in found]
    bad = [f"line {line}: {name}" for line, name in names if name and (module.path, name) not in TRUSTED]
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
    return bad + [f"line {call.lineno}: {ast.unparse(call.func)}" for call in calls if not _is_safe(call)]


def _loader_in(name):
    """Return which loader a dotted name is or holds; None where it is none."""
    if name in {"eval", "exec"}:
        return name
    parts = name.split(".")
    pairs = [".".join(pair) for pair in itertools.pairwise(parts)]
    return next((part for part in (*pairs, *parts) if part in LOADERS_OF_CODE), None)


def _is_safe(call):
    name = ast.unparse(call.func)
    demanded = next((says for end, says in SAFELY.items() if name.endswith(end)), {})
    if name.startswith("AutoModel"):
        demanded = demanded | MODELS_SAFELY
    said = {word.arg: getattr(word.value, "value", None) for word in call.keywords}
    return all(key in said and said[key] is value for key, value in demanded.items())


def swallowed_errors(module):
    """No `except: pass`."""
    handlers = (node for node in ast.walk(module.tree) if isinstance(node, ast.ExceptHandler))
    return [
        f"line {node.lineno}" for node in handlers if all(isinstance(line, ast.Pass) for line in node.body)
    ]


def long_modules(module):
    """A reader takes a module in at once."""
    lines = len(module.text.splitlines())
    return [f"{lines} lines"] if lines > MAX_MODULE_LINES else []


def long_functions(module):
    """A function decides one thing."""
    functions = (n for n in ast.walk(module.tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
    lengths = ((node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in functions)
    return [f"{name}: {lines} lines" for name, lines in lengths if lines > MAX_FUNCTION_LINES]


RULES = {
    upward_imports: PACKAGES,
    private_imports_of_tune: PACKAGES,
    private_imports_of_cluster: PACKAGES,
    unannounced_search_imports: PACKAGES,
    prints: PACKAGES,
    star_imports: (*PACKAGES, "tests", "benchmarks", "docs"),
    nameless_modules: (*PACKAGES, "tests", "benchmarks", "docs"),
    loaders_of_code: PACKAGES,
    swallowed_errors: PACKAGES,
    long_modules: PACKAGES,
    long_functions: PACKAGES,
}

VIOLATIONS = [
    (upward_imports, "rocore/trainer.py", "import ray"),
    (upward_imports, "rocore/trainer.py", "def f():\n    from tune.space import Space"),
    (upward_imports, "rocore/trainer.py", "import importlib\nimportlib.import_module('cluster.commands')"),
    (upward_imports, "rocore/trainer.py", "if TYPE_CHECKING:\n    import optuna.trial"),
    (private_imports_of_tune, "tune/sweep.py", "from rocore.commands.main import main"),
    (private_imports_of_tune, "tune/sweep.py", "import rocore.commands.main"),
    (private_imports_of_tune, "tune/sweep.py", "from rocore.commands import main"),
    (private_imports_of_tune, "tune/sweep.py", "from rocore.data import load_data"),
    (private_imports_of_tune, "tune/sweep.py", "from rocore.training.trainer import Trainer"),
    (private_imports_of_tune, "tune/sweep.py", "from cluster.description import load_description"),
    (private_imports_of_cluster, "cluster/commands.py", "import rocore"),
    (private_imports_of_cluster, "cluster/commands.py", "from rocore import Trainer"),
    (private_imports_of_cluster, "cluster/commands.py", "from rocore.data.instance import Corpus"),
    (private_imports_of_cluster, "cluster/commands.py", "from tune.config import SweepConfig"),
    (unannounced_search_imports, "tune/sweep.py", "import ray.tune as ray_tune"),
    (unannounced_search_imports, "tune/ray_trial.py", "import optuna"),
    (unannounced_search_imports, "cluster/launch.py", "import ray"),
    (unannounced_search_imports, "rocore/ray_launch.py", '"""Imports Ray."""\nimport ray'),
    (unannounced_search_imports, "cluster/optuna_study.py", '"""Imports Optuna."""\nimport optuna'),
    (prints, "rocore/trainer.py", "print('done')"),
    (star_imports, "rocore/trainer.py", "from math import *"),
    (nameless_modules, "rocore/utils.py", ""),
    (nameless_modules, "tune/_helpers.py", ""),
    (loaders_of_code, "rocore/trainer.py", "import pickle"),
    (loaders_of_code, "rocore/trainer.py", "from ray import cloudpickle"),
    (loaders_of_code, "rocore/trainer.py", "import ray.cloudpickle as quick"),
    (loaders_of_code, "rocore/trainer.py", "from joblib import load"),
    (loaders_of_code, "rocore/trainer.py", "import torch\nstate = torch.load(path, weights_only=True)"),
    (loaders_of_code, "rocore/trainer.py", "from torch import load"),
    (loaders_of_code, "rocore/trainer.py", "read = yaml.load"),
    (loaders_of_code, "rocore/trainer.py", "np.load(path)"),
    (loaders_of_code, "rocore/trainer.py", "np.load(path, allow_pickle=True)"),
    (loaders_of_code, "rocore/trainer.py", "eval(text)"),
    (loaders_of_code, "rocore/trainer.py", "frame = pandas.read_pickle(path)"),
    (loaders_of_code, "tune/ray_callbacks.py", "trial.get_pickled_error()"),
    (loaders_of_code, "tune/ray_callbacks.py", "import pickle"),
    (loaders_of_code, "rocore/source.py", "AutoConfig.from_pretrained(place)"),
    (loaders_of_code, "rocore/source.py", "AutoTokenizer.from_pretrained(place, trust_remote_code=True)"),
    (loaders_of_code, "rocore/source.py", "AutoModel.from_pretrained(place, trust_remote_code=False)"),
    (swallowed_errors, "rocore/trainer.py", "try:\n    f()\nexcept ValueError:\n    pass"),
    (long_modules, "rocore/trainer.py", "x = 1\n" * (MAX_MODULE_LINES + 1)),
    (long_functions, "rocore/trainer.py", "def f():\n" + "    x = 1\n" * MAX_FUNCTION_LINES),
]

ALLOWED = [
    (upward_imports, "tune/trial_ray.py", "import ray\nfrom tune import space"),
    (upward_imports, "rocore/trainer.py", "from rocore.training import array\nimport raylib"),
    (private_imports_of_tune, "tune/sweep.py", "import rocore\nfrom rocore import Trainer, load_config"),
    (private_imports_of_tune, "tune/sweep.py", "from rocore.data.instance import Corpus"),
    (
        private_imports_of_tune,
        "tune/sweep.py",
        "from rocore.config import Section\nfrom rocore.errors import DataError",
    ),
    (private_imports_of_tune, "tune/commands/sweep.py", "from rocore.commands.options import set_option"),
    (
        private_imports_of_cluster,
        "cluster/commands.py",
        "from rocore.config import Section\nimport rocore.errors",
    ),
    (private_imports_of_cluster, "cluster/commands.py", "from rocore import errors"),
    (unannounced_search_imports, "tune/ray_trial.py", "import ray.tune as ray_tune"),
    (
        unannounced_search_imports,
        "tune/searcher.py",
        '"""Imports Optuna and imports Ray: ..."""\nimport optuna, ray',
    ),
    (prints, "rocore/trainer.py", "click.echo('done')\nself.print()"),
    (loaders_of_code, "rocore/trainer.py", "yaml.safe_load(text)\nmodel.eval()\nself._exec(script)"),
    (loaders_of_code, "rocore/trainer.py", "with np.load(file, allow_pickle=False) as arrays: pass"),
    (loaders_of_code, "tune/ray_callbacks.py", "from ray import cloudpickle\ncloudpickle.loads(content)"),
    (
        loaders_of_code,
        "rocore/source.py",
        "AutoModel.from_pretrained(place, use_safetensors=True, trust_remote_code=False)",
    ),
    (
        swallowed_errors,
        "rocore/trainer.py",
        "try:\n    f()\nexcept ValueError as error:\n    raise KeyError from error",
    ),
    (long_modules, "rocore/trainer.py", "x = 1\n" * MAX_MODULE_LINES),
    (long_functions, "rocore/trainer.py", "def f():\n" + "    x = 1\n" * (MAX_FUNCTION_LINES - 1)),
]


def _name(value):
    return value.__name__ if callable(value) else ""


@pytest.mark.parametrize("rule", RULES, ids=_name)
def test_rule_holds_in_every_module(rule):
    modules = read_modules(*RULES[rule])
    assert {module.path: found for module in modules if (found := rule(module))} == {}


@pytest.mark.parametrize(("rule", "path", "text"), VIOLATIONS, ids=_name)
def test_rule_where_a_module_breaks_it_catches_that(rule, path, text):
    assert rule(Module(path, text)) != []


@pytest.mark.parametrize(("rule", "path", "text"), ALLOWED, ids=_name)
def test_rule_where_a_module_keeps_it_finds_nothing(rule, path, text):
    assert rule(Module(path, text)) == []


def test_every_rule_is_shown_to_catch_a_violation():
    assert {rule for rule, _, _ in VIOLATIONS} == set(RULES)


def test_modules_are_read_from_all_packages():
    assert {module.package for module in read_modules(*PACKAGES)} == set(PACKAGES)


@pytest.mark.parametrize(
    ("text", "imports"),
    [
        ("from . import cache", ["rocore.encoder.cache"]),
        ("from ..data.instance import Corpus", ["rocore.data.instance.Corpus"]),
        ("import a.b as c", ["a.b"]),
    ],
)
def test_imports_are_full_names(text, imports):
    assert Module("rocore/encoder/trunk.py", text).imports == imports


def test_configs_hold_yaml_alone():
    files = [path for path in (ROOT / "configs").rglob("*") if path.is_file()]
    assert files
    assert [path.relative_to(ROOT).as_posix() for path in files if path.suffix != ".yaml"] == []


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "rocore").glob("*.yaml")), ids=lambda path: path.stem
)
def test_shipped_configuration_loads(path):
    assert isinstance(config.load_config(path), config.Config)


@pytest.mark.parametrize(
    ("name", "center_weight"), [("fewrel", 0.005), ("fewrel_minilm", 0.005), ("tacred", 0.001)]
)
def test_shipped_configuration_carries_table_1(name, center_weight):
    loaded = config.load_config(ROOT / "configs" / "rocore" / f"{name}.yaml")
    assert loaded.loss.center_weight == center_weight
    assert loaded.loss.pair_margin == 2.0
    assert (loaded.incremental.rampup_peak, loaded.incremental.rampup_epochs) == (1.0, 10)
    assert (loaded.train.learning_rate, loaded.train.batch_size, loaded.train.pretrain_epochs) == (
        1e-4,
        100,
        10,
    )


@pytest.mark.parametrize(
    ("name", "encoder", "output_layer"),
    [("fewrel", "bert-base-uncased", 8), ("tacred", "bert-base-uncased", 8), ("fewrel_minilm", "minilm", 4)],
)
def test_shipped_configuration_names_its_encoder(name, encoder, output_layer):
    loaded = config.load_config(ROOT / "configs" / "rocore" / f"{name}.yaml")
    assert (loaded.encoder.name, loaded.encoder.output_layer) == (encoder, output_layer)
