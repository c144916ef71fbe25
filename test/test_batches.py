"""A batch is a function of (seed, step), and every image comes once before any comes again."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from dataset_folders import write_plain_folder

from depthrefl_ros.training.augment import Augmenter
from depthrefl_ros.training.batches import StepBatches
from depthrefl_ros.training.datasets import PlainFolder


@pytest.fixture
def dataset(tmp_path):
    return PlainFolder(write_plain_folder(tmp_path / "plain", count=5))


class Recorder:
    """An augmenter that notes which samples it was given."""

    def __init__(self):
        self.inner = Augmenter(32, 32)
        self.names = []

    def __call__(self, sample, generator):
        self.names.append(sample.name)
        return self.inner(sample, generator)


def test_shapes_and_types(dataset):
    batch = StepBatches([(dataset, 3)], Augmenter(32, 64), seed=1, steps=4)[0]
    assert batch["image"].shape == (3, 3, 32, 64) and batch["image"].dtype == torch.uint8
    assert batch["depth_m"].shape == (3, 1, 32, 64) and batch["depth_m"].dtype == torch.float32
    assert batch["focal_px"].shape == (3,) and batch["focal_px"].dtype == torch.float32


def test_a_step_always_gives_the_same_batch(dataset):
    first = StepBatches([(dataset, 2)], Augmenter(32, 32), seed=1, steps=9)
    second = StepBatches([(dataset, 2)], Augmenter(32, 32), seed=1, steps=9)
    second[0], second[5]  # another history
    for name, tensor in first[7].items():
        assert torch.equal(tensor, second[7][name])


def test_steps_and_seeds_differ(dataset):
    batches = StepBatches([(dataset, 2)], Augmenter(32, 32), seed=1, steps=9)
    other = StepBatches([(dataset, 2)], Augmenter(32, 32), seed=2, steps=9)
    assert not torch.equal(batches[0]["image"], batches[1]["image"])
    assert not torch.equal(batches[0]["image"], other[0]["image"])


def test_every_image_comes_once_an_epoch(dataset):
    recorder = Recorder()
    batches = StepBatches([(dataset, 2)], recorder, seed=1, steps=5)
    for step in range(5):
        batches[step]
    first, second = recorder.names[:5], recorder.names[5:]
    assert sorted(first) == sorted(second) == dataset.names
    assert first != second


def test_the_mix_is_kept_in_every_batch(dataset, tmp_path):
    other = PlainFolder(write_plain_folder(tmp_path / "other", count=2, size=(24, 32)))
    sizes = []

    def note(sample, generator):
        sizes.append(sample.depth_m.shape[0])
        return Augmenter(32, 32)(sample, generator)

    batches = StepBatches([(dataset, 3), (other, 1)], note, seed=1, steps=3)
    for step in range(3):
        batches[step]
    assert np.reshape(sizes, (3, 4)).tolist() == [[48, 48, 48, 24]] * 3


def test_an_empty_batch_is_refused(dataset):
    with pytest.raises(ValueError, match="at least 1"):
        StepBatches([(dataset, 0)], Augmenter(32, 32), seed=1, steps=1)
