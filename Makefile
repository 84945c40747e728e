# make image   installs what is missing, builds kuth, builds the Debian image
# make quick   formats, lints and the tests that need no tools: under a minute
# make check AREA=remote   the unit and integration tests of one area of the sources
# make static  builds kuth as one file that needs no library of the host
# make test    installs what the tests need, lints, runs all tests; ARGS="--test cli" runs a part
# make test-boots     boots whole systems, which is left out above; half an hour without KVM
# make audit   checks licences, sources and known vulnerabilities of the crates, with cargo-deny
# make fuzz    fuzzes every reader of foreign files for 10 seconds, with cargo-fuzz
# make test-install   really installs Debian from a medium it makes; half an hour without KVM
# make dist    makes the files of a release in target/dist; ARGS=DIRECTORY puts them elsewhere
# make torture        kills, losses of power and failing calls all over a build
PIPELINE ?= pipelines/debian.toml
ARGS ?=
AREA ?=

.PHONY: image static quick check test test-boots test-install audit dist fuzz torture build lint bench clean

image: build
	target/release/kuth build $(PIPELINE) $(ARGS)

build:
	scripts/setup image
	cargo build --release --locked

static:
	scripts/static-build --release

quick:
	scripts/quick

check:
	scripts/check $(AREA)

# A test that finds its tool missing fails here: setup has just installed them all.
test:
	scripts/setup test
	scripts/lint
	scripts/test $(ARGS)

test-boots:
	scripts/setup test
	scripts/test-boots

test-install:
	scripts/setup test
	cargo test --locked --release --test install -- --ignored --nocapture real

audit:
	scripts/audit

dist:
	scripts/dist $(ARGS)

fuzz:
	scripts/fuzz

torture:
	scripts/setup test
	scripts/torture

lint:
	scripts/lint

bench:
	scripts/bench

clean:
	cargo clean
	rm -rf out
