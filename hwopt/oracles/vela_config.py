"""What Vela is told: accelerator, system configuration, memory mode; as its text interface wants it."""

from __future__ import annotations

import configparser
import json
from dataclasses import asdict, dataclass
from importlib.resources import files

from hwopt.errors import BadInput
from hwopt.files.untrusted import read_bytes, shorten
from hwopt.target import Target
from hwopt.target.toml_lines import LARGEST_FILE

LOWERING_VERSION = 3  # of the tflite modules: raise it with every change that may alter a file

_FAMILIES = {"u55": "EthosU55", "u65": "EthosU65", "u85": "EthosU85"}
_MACS = {"u55": (32, 64, 128, 256), "u65": (256, 512), "u85": (128, 256, 512, 1024, 2048)}
_ADDRESS_BITS = {"u55": 32, "u65": 40, "u85": 40}  # Vela's own default limit of the arena
_CACHE_SIZE = "arena_cache_size"


@dataclass(frozen=True)
class VelaConfig:
    """All that decides a compilation, apart from the network.

    architecture: as `ethosu.regor.compile` names it. clock_mhz: the system's core clock.
    """

    architecture: str
    macs: int
    cores: int
    system_config: str
    memory_mode: str
    arena_bytes: int
    clock_mhz: float
    config_text: str  # sections of the target's own, beside those that ship with Vela

    def system(self) -> str:
        """The configuration text of `ethosu.regor.compile`."""
        return (
            f"[architecture]\nmacs={self.macs}\ncores={self.cores}\n"
            f"[vela]\nsystem_config_name={self.system_config}\nmemory_mode_name={self.memory_mode}\n"
            f"{shipped_config()}\n{self.config_text}\n"
        )

    def options(self) -> str:
        """The options text of `ethosu.regor.compile`: those of Vela's command line by default."""
        return (
            "[compiler]\nenable_db=true\noutput_format=TFLite\ncop_format=COP1\n"
            f"[scheduler]\noptimize=Performance\narena_size_limit={self.arena_bytes}\n"
            "cpu_tensor_alignment=16\ntensor_allocator=HillClimb\n"
        )

    def to_json(self) -> str:
        """One line of JSON, the same for equal configurations."""
        return json.dumps(asdict(self), sort_keys=True)


def config_of(target: Target) -> VelaConfig:
    """The configuration of a target whose oracle is Vela.

    Reads `accelerator` (ethos-u55-256 ...), `system_config`, `memory_mode`, and optionally
    `config_file` (own sections, a file in the target's folder) and `arena_cache_size` in bytes.
    Raises BadInput naming the option at fault, or where the target's clock is not the system's.
    """
    try:
        return _config_of(target)
    except (configparser.Error, ValueError, OverflowError) as error:
        where = target.folder / "target.toml"
        raise BadInput(f"{where}: its config_file is none of Vela: {shorten(str(error))}") from None


def _config_of(target: Target) -> VelaConfig:
    options, where = target.oracle.options, target.folder / "target.toml"
    family, macs = _accelerator(str(options.get("accelerator", "")), str(where))
    own = _own_sections(target)
    system, mode = str(options.get("system_config", "")), str(options.get("memory_mode", ""))
    parser = configparser.ConfigParser()
    parser.read_string(f"{shipped_config()}\n{own}")
    for section, key in (
        (f"System_Config.{system}", "system_config"),
        (f"Memory_Mode.{mode}", "memory_mode"),
    ):
        if not parser.has_section(section):
            known = ", ".join(
                s.split(".", 1)[1] for s in parser.sections() if s.startswith(section.split(".")[0])
            )
            raise BadInput(f"{where}: oracle option {key} names no [{section}] of Vela; known are {known}")
    clock_mhz = parser.getfloat(f"System_Config.{system}", "core_clock") / 1e6
    if not abs(clock_mhz - target.clock_mhz) <= 1e-6 * clock_mhz:  # not NaN either
        raise BadInput(f"{where}: clock_mhz is {target.clock_mhz:g}, but {system} runs at {clock_mhz:g} MHz")
    limit = options.get(_CACHE_SIZE) or _mode_cache(parser, mode) or 1 << _ADDRESS_BITS[family]
    cores = 2 if (family, macs) == ("u65", 512) else 1
    return VelaConfig(_FAMILIES[family], macs // cores, cores, system, mode, int(limit), clock_mhz, own)


def shipped_config() -> str:
    """The system configurations and memory modes that ship with Vela."""
    return (files("ethosu") / "config_files" / "Arm" / "vela.ini").read_text("utf-8")


def _accelerator(name: str, where: str) -> tuple[str, int]:
    _, _, rest = name.partition("ethos-")
    family, _, macs = rest.partition("-")
    if family not in _FAMILIES or not macs.isdecimal() or int(macs) not in _MACS[family]:
        known = ", ".join(f"ethos-{f}-{m}" for f, sizes in _MACS.items() for m in sizes)
        raise BadInput(f"{where}: oracle option accelerator is '{name}', not one of {known}")
    return family, int(macs)


def _own_sections(target: Target) -> str:
    name = str(target.oracle.options.get("config_file", ""))
    if not name:
        return ""
    path = (target.folder / name).resolve()
    if target.folder.resolve() not in path.parents or not path.is_file():
        raise BadInput(
            f"{target.folder / 'target.toml'}: config_file '{name}' is no file in the target's folder"
        )
    try:
        return read_bytes(path, "Vela configuration", LARGEST_FILE).decode("utf-8")
    except UnicodeDecodeError:
        raise BadInput(f"{path}: not UTF-8 text") from None


def _mode_cache(parser: configparser.ConfigParser, mode: str) -> int | None:
    """The cache size of a memory mode, its own or the one it inherits."""
    section = f"Memory_Mode.{mode}"
    for _ in range(len(parser.sections())):
        if not parser.has_section(section):
            return None
        if parser.has_option(section, _CACHE_SIZE):
            return parser.getint(section, _CACHE_SIZE)
        section = parser.get(section, "inherit", fallback="")
    return None


def encode_job(config: VelaConfig, model: bytes, guarded: bool) -> bytes:
    """A worker's message: configuration as a line of JSON, a byte for the guards, the model."""
    return config.to_json().encode() + b"\n" + (b"\x01" if guarded else b"\x00") + model


def decode_job(message: bytes) -> tuple[VelaConfig, bytes, bool]:
    """The reverse of `encode_job`."""
    head, _, body = message.partition(b"\n")
    return VelaConfig(**json.loads(head)), body[1:], body[:1] == b"\x01"
