"""The far side on a phone, which has no Python: the runner is Java, and the shell manages the folder.

``app_process`` starts the runner (``android_demo/runner``), which speaks the protocol of
:mod:`benchmark.devices.runner`. No app is installed.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmark.devices.android import FACTS, VITALS, parse_facts, parse_vitals, sections
from benchmark.devices.parcel import ROOT
from benchmark.devices.power import dumpsys_script, sysfs_script
from benchmark.devices.side import Content, FarSide, Message, Settled
from benchmark.devices.transport import Transport
from distill.console import Failure
from distill.files import sha256_file

__all__ = ["FOLDER", "RUNNER", "AndroidSide"]

FOLDER = "/data/local/tmp/distill-bench"  # where Android lets the shell user run programs
RUNNER = ROOT / "android_demo" / "build"
FORMAT = "tflite"  # the only one that the runner on phones has an engine for
JAR, LIBRARY, GPU_LIBRARY = "runner.jar", "libtensorflowlite_jni.so", "libtensorflowlite_gpu_jni.so"
MAIN = "org.distilltophone.runner.Main"
BUILD = "build it: make android (android_demo/README.md), or give its folder: --android-runner DIR"
AT_ONCE = 200  # names in one command line

SETTLE = """cd {folder}/incoming || exit 1
for name in *; do
  [ -f "$name" ] || continue
  sum=$(sha256sum "$name") || exit 1
  if [ "${{sum%% *}}" = "$name" ]; then mv "$name" ../files/ || exit 1; else rm "$name"; echo "@@damaged"; echo "$name"; fi
done
cd ..
echo "@@files"; ls files
echo "@@results"; for name in results/*; do [ -f "$name" ] && sha256sum "$name"; done
echo "@@free"; df -P -k ."""

START = """[ -d {program} ] || {{
  rm -rf {program}.new && mkdir -p {program}.new && {copy} &&
  chmod 555 {program}.new/* && mv {program}.new {program}
}} || exit 1
export CLASSPATH={program}/{jar_name} LD_LIBRARY_PATH={program}
exec {pin}app_process -Djava.library.path={program} / {main} {command} {folder}"""


class AndroidSide(FarSide):
    """The shell of Android 8 or newer, and our runner for its processor.

    Args:
        folder: Folder for our files on the phone, an absolute path.
        runner: Folder on this computer with ``runner.jar`` and ``jni/ABI/libtensorflowlite_jni.so``.
        gpu: Whether to send ``libtensorflowlite_gpu_jni.so`` as well.
    """

    cure = "see --remote-folder and --android-runner"

    def __init__(self, transport: Transport, folder: str = FOLDER, runner: Path = RUNNER, gpu: bool = False) -> None:
        super().__init__(transport, folder, FOLDER)
        self._runner = runner
        self._gpu = gpu
        self._names: list[str] = []  # file names of ``_program``, in the same order
        self._facts: Message = {}
        self._program: dict[str, Content] = {}

    def probe(self) -> None:
        if not (self._runner / JAR).is_file():
            raise Failure(f"{self._runner / JAR}: no such file; phones are measured with it", BUILD)
        self._facts = parse_facts(self._shell(FACTS, may_fail=True))
        abi = self._facts["phone"]["abi"]
        library = self._runner / "jni" / str(abi) / LIBRARY
        if not library.is_file():
            built = sorted(path.parent.name for path in self._runner.glob(f"jni/*/{LIBRARY}"))
            raise Failure(
                f"{self.where}: its processor is {abi or 'unknown'}, and our runner is built for {', '.join(built) or 'none'}",
                "use a phone with one of these, or build the library for it",
            )
        files = [self._runner / JAR, library]
        if self._gpu and library.with_name(GPU_LIBRARY).is_file():
            files.append(library.with_name(GPU_LIBRARY))
        self._names = [path.name for path in files]
        self._program = {sha256_file(path): path for path in files}
        self._shell(
            f"cd / && mkdir -p {' '.join(shlex.quote(f'{self.folder}/{part}') for part in ('incoming', 'files', 'results'))}"
        )

    def settle(self) -> Settled:
        parts = sections(self._shell(SETTLE.format(folder=shlex.quote(self.folder))))
        sums = (line.split() for line in parts.get("results", []) if line.strip())
        free = (parts.get("free") or [""])[-1].split()
        if len(free) < 4 or not free[3].isdecimal():
            raise Failure(f"{self.where}: df there prints {' '.join(free) or 'nothing'}", "report it with --debug")
        return Settled(
            damaged=parts.get("damaged", []),
            files=[line.strip() for line in parts.get("files", []) if line.strip()],
            results={name.removeprefix("results/"): sha256 for sha256, name in sums},
            free_bytes=int(free[3]) * 1024,
        )

    def drop(self, names: Iterable[str]) -> None:
        names = list(names)
        for start in range(0, len(names), AT_ONCE):
            some = " ".join(shlex.quote(name) for name in names[start : start + AT_ONCE])
            self._shell(f"cd {shlex.quote(self.folder)}/files && rm -f {some}")

    def clean(self) -> None:
        self._shell(
            f"cd {shlex.quote(self.folder)} || exit 1; rm -rf incoming files results program lock; "
            f"cd /; rmdir {shlex.quote(self.folder)} 2>/dev/null; true"
        )

    def program(self) -> Mapping[str, Content]:
        return self._program

    def start(self, command: str, cpus: Sequence[int] = ()) -> Sequence[str]:
        if not set(cpus) <= set(range(self._facts["cores"])):
            raise self.failure(f"processors {sorted(cpus)} are not among those there, 0-{self._facts['cores'] - 1}")
        program = shlex.quote(f"{self.folder}/program/{''.join(sha256[:12] for sha256 in self._program)}")
        copies = (
            f"cp {shlex.quote(f'{self.folder}/files')}/{sha256} {program}.new/{name}"
            for sha256, name in zip(self._program, self._names, strict=True)
        )
        script = START.format(
            program=program,
            copy=" && ".join(copies),
            jar_name=JAR,
            main=MAIN,
            command=command,
            folder=shlex.quote(self.folder),
            pin=f"taskset {sum(1 << cpu for cpu in cpus):x} " if cpus else "",
        )
        return ["sh", "-c", script]

    def facts(self, described: Message) -> Message:
        # The runner knows its engine; the shell knows more about the phone.
        return self._facts | {"packages": described["machine"].get("packages", {})}

    def refusal(self, format_name: str, delegate: str) -> str | None:
        if format_name != FORMAT:
            return f"our runner on phones has TFLite only, not {format_name}"
        if delegate == "gpu" and GPU_LIBRARY not in self._names:
            return f"gpu needs {GPU_LIBRARY} beside {LIBRARY}, and {self._runner} has none: make android"
        return None

    def may_die(self, delegate: str) -> bool:
        return delegate in ("gpu", "nnapi")

    def vitals(self) -> Message:
        return parse_vitals(self._shell(VITALS, may_fail=True))

    def battery_script(self) -> str:
        return f"{sysfs_script()}\n{dumpsys_script()}"

    def _shell(self, script: str, may_fail: bool = False) -> str:
        """Run a script and return what it prints.

        Raises:
            Failure: it ended with an error, unless ``may_fail``.
        """
        done = self.transport.run(["sh", "-c", script])
        if done.code != 0 and not may_fail:
            output = (done.stderr.strip().splitlines() or [f"exit status {done.code}"])[-1]
            raise self.failure(output)
        return done.stdout
