"""The npm package as `npm pack` makes it: its files, its version, and its types."""

import json
import subprocess
import tarfile
from pathlib import Path

import pytest

import cordboard
from clients.documented_code import NODE
from clients.nextjs_example import PACKAGE, ROOT, TSC, MissingError, environment, packed

# What a user's code may do, and what it may not.
CONSUMER = """
import { configure, getClientLogger, newSession, watchPeerConnection, type Options } from "cordboard";
import { getLogger, runInSession, logRoute, withSession } from "cordboard/next";
import { SessionProvider, useSession } from "cordboard/react";

const options: Options = { url: "/api/logs", hosts: ["localhost:7860"], console: true };
configure(options);
const id: string = newSession();
getClientLogger("call").info("Joined", { event: "join.clicked", id });
watchPeerConnection(new RTCPeerConnection(), { devices: false }).close();
const answer: number = runInSession({ sessionId: id }, () => 7);
getLogger("x").error("No", { error: new Error("no"), answer });
const POST: (request: Request) => Promise<Response> = logRoute({ user: () => ({ userId: "u" }) });
const other = withSession(async (request: Request, context: { params: Promise<{ id: string }> }) => new Response(id));
const value: { sessionId: string } = useSession();
SessionProvider({ options, children: null });
// @ts-expect-error -- the URL is a text
configure({ url: 7 });
// @ts-expect-error -- no such level
getClientLogger("call").fatal("No");
export { POST, other, value };
"""
SERVER = """
import { getClientLogger } from "cordboard";
import { getLogger, runInSession } from "cordboard/server";
getClientLogger("page").info("A component is rendered");
runInSession({ sessionId: "call-7" }, () => getLogger("x").info("Hello"));
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of a user's, in which the packed package is installed."""
    folder = tmp_path_factory.mktemp("package")
    try:
        tarball = packed(folder)
    except MissingError as error:
        pytest.skip(str(error))
    modules = folder / "project" / "node_modules"
    with tarfile.open(tarball) as file:
        file.extractall(modules, filter="data")
    (modules / "package").rename(modules / "cordboard")
    for name in ("@types", "csstype"):  # of React
        (modules / name).symlink_to(ROOT / "node_modules" / name)
    return modules.parent


def test_package_has_sources_types_and_license_alone(project: Path) -> None:
    """Nothing that is needed is missing, and nothing else is published."""
    package = project / "node_modules" / "cordboard"
    files = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    sources = {path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "src").rglob("*.js")}
    types = {f"types/{name.removeprefix('src/').removesuffix('.js')}.d.ts" for name in sources}
    assert files == sources | types | {"LICENSE", "README.md", "package.json"}
    assert (package / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    about = json.loads((package / "package.json").read_text())
    assert about["version"] == cordboard.__version__
    assert "dependencies" not in about


def test_types_of_the_package_fit_its_use(project: Path) -> None:
    """A strict compiler takes the documented use, and refuses other values."""
    (project / "consumer.ts").write_text(CONSUMER)
    options = ("--noEmit", "--strict", "--module", "esnext", "--moduleResolution", "bundler")
    done = subprocess.run(
        [NODE, TSC.resolve(), *options, "--target", "es2023", "--lib", "es2023,dom", "consumer.ts"],
        cwd=project,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_package_runs_on_a_server(project: Path) -> None:
    """Modules of pages can be imported there, and only the server's logger writes lines."""
    (project / "server.mjs").write_text(SERVER)
    done = subprocess.run(
        [NODE, "server.mjs"], cwd=project, capture_output=True, text=True, timeout=60, check=True
    )
    printed, line = done.stdout.splitlines()
    assert printed == "[page] A component is rendered"
    assert json.loads(line)["sessionId"] == "call-7"
