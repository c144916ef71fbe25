# Needs Python 3.10 to 3.13 with pip and venv, and make; everything else goes into .venv.
# With a sourced ROS 2 its rclpy and messages are used, otherwise the wheels from PyPI.

PYTHON ?= python3
OUTPUT ?= demo
# `make test` needs PyTorch; set this to PyTorch's own CPU index to spare the CUDA libraries.
TORCH_INDEX ?=

VENV := .venv
BIN := $(VENV)/bin
HAS_ROS := $(shell $(PYTHON) -c 'import rclpy, sensor_msgs' 2>/dev/null && echo yes)
ROS := $(if $(HAS_ROS),,ros)
VENV_OPTIONS := $(if $(HAS_ROS),--system-site-packages)
# Other requirements, another key: what is installed is then brought up to date.
KEY := $(shell cksum < setup.py | cut -d ' ' -f 1)$(ROS)
RUNS := $(VENV)/runs-$(KEY)
TESTS := $(VENV)/tests-$(KEY)
TORCH = $(shell sed -n 's/.*"\(torch==[^"]*\)".*/\1/p' setup.py)

.PHONY: help setup demo test clean distclean

help:
	@echo 'make demo                  play the shipped recording through the node, write $(OUTPUT)/'
	@echo 'make demo SOURCE=0         the same with a webcam; a video, image folder or recording'
	@echo '                           works too; HFOV=degrees or CAMERA_INFO=file says what it sees'
	@echo 'make test                  lint and all tests'
	@echo 'make setup                 only set up .venv for running'
	@echo 'make clean, distclean      remove what was made; distclean .venv as well'

setup: $(RUNS)

demo: $(RUNS)
	$(BIN)/python -m depthrefl_ros demo --output "$(OUTPUT)" \
	  $(if $(SOURCE),--source "$(SOURCE)") $(if $(HFOV),--hfov $(HFOV)) \
	  $(if $(CAMERA_INFO),--camera-info "$(CAMERA_INFO)")

test: $(TESTS)
	$(BIN)/ruff check .
	$(BIN)/python -m pytest $(PYTEST_ARGS)

clean:
	rm -rf "$(OUTPUT)" build install log *.egg-info .pytest_cache .ruff_cache
	find depthrefl_ros test benchmark launch -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; (3, 10) <= sys.version_info < (3, 14) or sys.exit( \
	  "Python 3.10 to 3.13 is needed; %s is %s; choose one with make PYTHON=..." \
	  % (sys.executable, sys.version.split()[0]))'
	$(PYTHON) -m venv $(VENV_OPTIONS) $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(RUNS): | $(BIN)/python
	@echo 'installing what the node and the tools need into $(VENV) ...'
	$(BIN)/python -m pip install --quiet --editable '.$(if $(ROS),[ros])'
	@rm -f $(VENV)/runs-*
	@touch $@

$(TESTS): $(RUNS)
	@echo 'installing what the tests need into $(VENV) ...'
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --index-url $(TORCH_INDEX) '$(TORCH)')
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@rm -f $(VENV)/tests-*
	@touch $@
