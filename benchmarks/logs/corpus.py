"""Log files of a made-up cluster: forty processes over six hours, or one process over eight."""

import os
import random
import time
from datetime import UTC, datetime
from multiprocessing import Pool
from pathlib import Path

START = datetime(2026, 11, 23, 6, 0, 0, tzinfo=UTC).timestamp()
WANTED = "call-wanted-7f3a"
SESSION_LINES = 32
LINE_BYTES = 300
SERVICES = ("gateway", "gateway", "operator", "operator", "interface", "interface")


def stamp(moment: float) -> str:
    whole, micros = divmod(round(moment * 1_000_000), 1_000_000)
    second: str = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{second}.{micros:06d}Z"


def make(folder: Path, size: int, files: int, hours: float) -> None:
    """Write the files, unless they are there."""
    done = folder / ".done"
    mark = f"{size} {files} {hours} 3"
    if done.exists() and done.read_text() == mark:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*"):
        old.unlink()
    with Pool(2) as pool:
        pool.starmap(_file, [(folder, n, files, size // files, hours) for n in range(files)])
    done.write_text(mark)


def _file(folder: Path, number: int, files: int, size: int, hours: float) -> None:
    """Write one process's file; a few lines of the wanted session are in five of them."""
    choose = random.Random(number)
    service = SERVICES[number] if number < len(SERVICES) and files > 1 else "runner"
    boot = f"{choose.getrandbits(32):08x}"
    count = size // LINE_BYTES
    step = hours * 3600 / count
    wanted = _places(number, files, count, choose)
    with (folder / f"{service}-{number:02d}.jsonl").open("wb") as file:
        for begin in range(0, count, 10_000):
            lines = [
                _line(n, START + n * step, step, service, boot, n in wanted, choose)
                for n in range(begin, min(begin + 10_000, count))
            ]
            file.write("".join(lines).encode())


def _places(number: int, files: int, count: int, choose: random.Random) -> set[int]:
    """Choose which lines are the wanted session's: within minutes, near the end."""
    share = {0: 6, 2: 2, 4: 2, 7: 22} if files > 1 else {0: SESSION_LINES}
    begin, end = int(count * 0.985), int(count * 0.99)
    return set(choose.sample(range(begin, end), share.get(number, 0)))


def _line(
    n: int, moment: float, step: float, service: str, boot: str, wanted: bool, choose: random.Random
) -> str:
    at = stamp(moment + choose.random() * max(step, 0.05))  # a little out of order
    session = WANTED if wanted else f"call-{int(moment) // 240:06d}-{choose.randrange(40):02d}"
    level = "error" if n % 1000 == 7 else "warn" if n % 50 == 3 else "info"
    event = '"event":"turn.ended",' if n % 3 else ""
    return (
        f'{{"timestamp":"{at}","level":"{level}","message":"Turn {"ended" if n % 3 else "began"}",'
        f'"service":"{service}","tag":"call","sessionId":"{session}","userId":"u-{n % 1000}",'
        f'"userName":"Ada","room":"webrtc:room-{n % 100}",{event}'
        f'"meta":{{"turn":{n % 40},"duration_ms":{choose.randrange(5000)},"interrupted":'
        f'{"true" if n % 7 == 0 else "false"}}},"boot":"{boot}","seq":{n + 1}}}\n'
    )


def older(folder: Path, source: Path, total: int) -> None:
    """Fill a folder up to a size with the same lines of earlier days."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in source.glob("*.jsonl"):
        if not (folder / path.name).exists():
            os.link(path, folder / path.name)
    size = sum(path.stat().st_size for path in source.glob("*.jsonl"))
    days = range(22, 22 - round(total / size) + 1, -1)
    with Pool(2) as pool:
        pool.starmap(_earlier, [(path, folder, d) for d in days for path in source.glob("*.jsonl")])


def _earlier(path: Path, folder: Path, day: int) -> None:
    target = folder / f"{path.stem}.{23 - day}.jsonl"
    if not target.exists() or target.stat().st_mtime > START:
        data = path.read_bytes().replace(b'"2026-11-23T', f'"2026-11-{day:02d}T'.encode())
        target.write_bytes(data)
        os.utime(target, (START - (23 - day) * 86400 + 6 * 3600,) * 2)  # as rotated files have


CARRIERS = ("bare", "2 % of other loggers", "CRI", "Docker's JSON")


def carried(folder: Path, source: Path, carrier: str) -> None:
    """Write the lines of a folder again, as a carrier leaves them, unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    with Pool(2) as pool:
        paths = sorted(source.glob("*.jsonl"))
        pool.starmap(_carried, [(path, folder / path.name, carrier) for path in paths])


def _carried(path: Path, target: Path, carrier: str) -> None:
    if target.exists():
        return
    with path.open() as lines, target.open("w") as file:
        for number, line in enumerate(lines):
            moment = line[14:40]
            if carrier == "CRI":
                file.write(f"{moment}321Z stdout F {line}")
            elif carrier == "Docker's JSON":
                text = line[:-1].replace("\\", "\\\\").replace('"', '\\"')
                file.write(f'{{"log":"{text}\\n","stream":"stdout","time":"{moment}321Z"}}\n')
            else:
                file.write(line)
            if carrier.startswith("2 %") and number % 50 == 0:
                file.write('INFO:     10.0.0.5:5021 - "GET /healthz HTTP/1.1" 200 OK\n')
