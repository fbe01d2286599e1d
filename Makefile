# imgprep: `make` alone prints this help.  CI calls the same targets.
IMAGE ?=
DEST ?= out/store
PROFILE ?= rackspace
FUZZ ?= --seconds 60
MINUTES ?= 30
SEED ?=
ROOM ?=
FILE ?=
SAMPLE ?= 40
export IMAGE DEST PROFILE
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup setup-test run test test-slow soak mutants lint format bench fuzz sample clean man

help:  ## print this help
	@echo "imgprep: prepare a disk image for a cloud's import, and store it there"
	@echo
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  make run IMAGE=disk.qcow2 [DEST=out/store] [PROFILE=rackspace]"

setup:  ## install what imgprep needs to run, and only what is missing
	@.ci/setup run

setup-test:  ## … and what its tests need: servers, builders of images, linters
	@.ci/setup test

run: setup  ## the main job on IMAGE (none: on a real Debian image that it builds) into DEST
	@image=$$IMAGE; \
	if [ -z "$$image" ]; then .ci/setup sample && image=$$(fixtures/debian/build) || exit 3; fi; \
	$(BIN)/imgprep run --profile "$$PROFILE" --if-exists replace -- "$$image" "$$DEST"

sample: setup  ## build the sample image (a bootable Debian 12) and print its path
	@.ci/setup sample && fixtures/debian/build

test: setup-test  ## all tests, with the real tools and servers, and the linters
	@CI=$${CI:-true} $(BIN)/python -m pytest -n 2 --dist loadgroup -m "not nightly" $(TESTS)

test-slow: setup-test  ## the tests that take minutes each: a soak, README followed, the container's steps in clean trees (root)
	@CI=$${CI:-true} $(BIN)/python -m pytest -m nightly $(TESTS)

soak: setup-test  ## uploads broken in every way for MINUTES, then eight days later (SEED repeats one)
	$(BIN)/python tests/soak/soak.py --minutes $(MINUTES) $(if $(SEED),--seed "$(SEED)")

mutants: setup-test  ## change the code in SAMPLE places a room: does a test notice? (ROOM, FILE, SEED; 0: all places)
	$(BIN)/python tests/mutants/run.py --sample $(SAMPLE) $(if $(ROOM),--room "$(ROOM)") \
	  $(if $(FILE),--file "$(FILE)") $(if $(SEED),--seed "$(SEED)")

lint: setup-test  ## formatting, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup-test  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

man: setup  ## write the manual pages to .venv/share/man (make setup does it too)
	$(BIN)/python -m pipeline.cli.manual .venv/share/man/man1

bench:  ## measure against the by-hand commands; the figures go into BENCHMARKS.md
	@.ci/setup bench
	$(BIN)/python tests/bench/run.py

fuzz: setup-test  ## fuzz every parser for longer (FUZZ="--seconds 60"; see tests/fuzz/run.py --help)
	$(BIN)/python tests/fuzz/run.py $(FUZZ)
	DAMAGES=5000 $(BIN)/python -m pytest -q -n 2 --timeout 7200 tests/tools/test_damaged_guests.py -k damages

clean:  ## remove what make run and make test made (not .venv)
	rm -rf out .cache build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
