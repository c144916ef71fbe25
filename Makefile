# SPDX-License-Identifier: Apache-2.0
# Needs make and Python 3.10 to 3.13 with pip or venv; everything else goes into .venv.
# With a sourced ROS 2 its rclpy and messages are used, otherwise the wheels from PyPI.

PYTHON ?= python3
OUTPUT ?= demo
# Without an NVIDIA GPU the CPU build of PyTorch is tried first: it spares 5 GB of CUDA libraries. PyPI
# does not have it; name PyTorch's own CPU index here to get it from there.
TORCH := torch==2.13.0
TORCH_INDEX ?=
TORCH_FOR ?= $(if $(wildcard /dev/nvidia0 /dev/nvmap),cuda,cpu)

DEMO_ARGS ?=
DEMO_OPTIONS = $(if $(SOURCE), --source "$(SOURCE)")$(if $(HFOV), --hfov $(HFOV))$(if \
  $(CAMERA_INFO), --camera-info "$(CAMERA_INFO)")$(if $(LIVE), --live)$(if \
  $(DEMO_ARGS), $(DEMO_ARGS))

VENV := .venv
BIN := $(VENV)/bin
# Written when .venv works; its content says which ROS .venv was made for.
MADE := $(VENV)/made
# The interpreter below an activated environment, whose packages are not the system's.
BASE := $(shell $(PYTHON) -c 'import sys; print(sys._base_executable)' 2>/dev/null)
FOUND := $(if $(shell "$(BASE)" -c 'import rclpy, sensor_msgs' 2>/dev/null && echo yes),sourced,wheels)
ROS := $(or $(shell cat $(MADE) 2>/dev/null),$(FOUND))
# Extras of setup.py that the node and the tools get; another engine than OpenVINO is one of them.
EXTRAS := openvino,bags,view
# Which ROS 2 from PyPI where none is sourced: ros is Kilted, ros-jazzy Jazzy.
WHEELS := ros
COMMA := ,
INSTALLED := $(EXTRAS)$(if $(filter wheels,$(ROS)),$(COMMA)$(WHEELS))
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install
# What the build needs is in .venv, so that it works offline; setuptools warns of every such
# installation in nine lines.
PIP_EDITABLE := PYTHONWARNINGS=ignore $(PIP_INSTALL) --no-build-isolation --editable
# Other requirements, another key: what is installed is then brought up to date. Extras add up.
KEY := $(shell cksum < setup.py | cut -d ' ' -f 1)
RUNS := $(VENV)/runs-$(KEY)-$(INSTALLED)
TESTS := $(VENV)/tests-$(KEY)

ifeq ($(ROS),wheels)
# ROS from PyPI: what a sourced ROS, of another Python perhaps, has set would lead past it.
ifdef AMENT_PREFIX_PATH
unexport AMENT_PREFIX_PATH CMAKE_PREFIX_PATH COLCON_PREFIX_PATH PYTHONPATH ROS_DISTRO ROS_VERSION
endif
else ifeq ($(FOUND),wheels)
ifneq ($(filter-out help clean distclean,$(or $(MAKECMDGOALS),help)),)
$(error .venv was made for a sourced ROS 2: source it, or make distclean for the wheels from PyPI)
endif
endif

.DELETE_ON_ERROR:
.PHONY: help setup demo test clean distclean

help:
	@echo 'make demo                  play the shipped recording through the node, write $(OUTPUT)/'
	@echo 'make demo SOURCE=0         the same with a webcam; a video, image folder or recording'
	@echo '                           works too; HFOV=degrees or CAMERA_INFO=file says what it sees'
	@echo 'make demo LIVE=1           the same, shown on a web page meanwhile'
	@echo "make demo DEMO_ARGS='--model indoor_nano'"
	@echo '                           with other options of depthrefl demo'
	@echo 'make demo EXTRAS=tensorrt-rtx,bags,view'
	@echo '                           with another engine than OpenVINO; also make setup'
	@echo 'make test                  lint and all tests'
	@echo 'make setup                 only set up .venv for running'
	@echo 'make clean, distclean      remove what was made; distclean .venv as well'

setup: $(RUNS)

demo: $(RUNS)
	$(BIN)/python -u -m depthrefl_ros demo --output "$(OUTPUT)"$(DEMO_OPTIONS)

test: $(TESTS)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m pytest $(PYTEST_ARGS)

clean:
	rm -rf "$(OUTPUT)" build install log *.egg-info .pytest_cache .ruff_cache
	find depthrefl_ros test benchmark launch -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

# Debian's Python has no ensurepip without the package python3-venv, and its venv then leaves an
# environment without pip behind; the pip of the system fills it, and that one then makes bin/pip.
$(MADE):
	@test -n "$(BASE)" || { echo '$(PYTHON) is no Python; choose one: make PYTHON=...' >&2; exit 1; }
	@"$(BASE)" -c 'import sys; (3, 10) <= sys.version_info < (3, 14) or sys.exit( \
	  "Python 3.10 to 3.13 is needed; %s is %s; choose one: make PYTHON=..." \
	  % (sys.executable, sys.version.split()[0]))'
	@"$(BASE)" -c 'import ensurepip' 2>/dev/null || "$(BASE)" -c 'import pip' 2>/dev/null || { \
	  echo 'this Python has neither pip nor ensurepip: sudo apt install python3-pip' >&2; exit 1; }
	@if ! test -x $(BIN)/pip || \
	    ! $(BIN)/python -c 'import sys, pip; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null; then \
	  rm -rf $(VENV) && \
	  "$(BASE)" -m venv --without-pip $(if $(filter sourced,$(ROS)),--system-site-packages) $(VENV) && \
	  if "$(BASE)" -c 'import ensurepip' 2>/dev/null; then $(BIN)/python -m ensurepip --default-pip; else \
	    "$(BASE)" -m pip --disable-pip-version-check install --upgrade pip --target \
	      "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" && \
	    $(BIN)/python -m pip --disable-pip-version-check install --force-reinstall pip; \
	  fi; \
	fi
	$(PIP_INSTALL) --upgrade pip 'setuptools>=64' wheel
	@echo $(ROS) > $@

$(RUNS): | $(MADE)
	@echo 'Installing what the node and the tools need into $(VENV): about 200 MB to download.'
	$(PIP_EDITABLE) '.[$(INSTALLED)]'
	@rm -f $(filter-out $(VENV)/runs-$(KEY)-%,$(wildcard $(VENV)/runs-*))
	@touch $@

# PyTorch comes first, by itself: what is there already, as JetPack's, stays.
$(TESTS): | $(RUNS)
	@$(BIN)/python -c 'import torch' 2>/dev/null || { \
	  if [ "$(TORCH_FOR)" = cpu ]; then \
	    echo 'Installing PyTorch for CPUs into $(VENV): about 200 MB to download.' && \
	    $(PIP_INSTALL) --retries 0 --timeout 15 \
	      $(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") '$(TORCH)+cpu' && exit; \
	    echo "No CPU build is on the package indexes; TORCH_INDEX=... names PyTorch's own."; \
	  fi; \
	  echo 'Installing PyTorch with CUDA into $(VENV): about 3 GB to download.'; \
	  $(PIP_INSTALL) '$(TORCH)'; }
	@echo 'Installing what the tests need into $(VENV): about 300 MB to download.'
	$(PIP_EDITABLE) '.[test]'
	@rm -f $(VENV)/tests-*
	@touch $@
