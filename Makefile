# make image   installs what is missing, builds kuth, builds the Debian image
# make test    installs what the tests need, runs them all
# make test-install   really installs Debian from a medium it makes; half an hour without KVM
PIPELINE ?= pipelines/debian.toml
ARGS ?=

.PHONY: image test test-install build lint bench clean

image: build
	target/release/kuth build $(PIPELINE) $(ARGS)

build:
	scripts/setup image
	cargo build --release --locked

# A test that finds its tool missing fails here: setup has just installed them all.
test:
	scripts/setup test
	scripts/lint
	KUTH_TEST_VIRTUALBOX="$$(scripts/virtualbox target/virtualbox)" KUTH_REQUIRE_TOOLS=1 \
	    cargo test --locked --no-fail-fast

test-install:
	scripts/setup test
	cargo test --locked --release --test install -- --ignored --nocapture real

lint:
	scripts/lint

bench:
	scripts/bench

clean:
	cargo clean
	rm -rf out
