from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from distill.training.sampler import ClassBatches


@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=12),
    group=st.integers(1, 4),
    groups_per_batch=st.integers(1, 4),
    seed=st.integers(0, 1000),
    epoch=st.integers(0, 5),
)
def test_an_epoch_is_full_batches_of_class_groups(sizes, group, groups_per_batch, seed, epoch):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    sampler = ClassBatches(labels, group * groups_per_batch, group, seed)
    batches = list(sampler.epoch(epoch))
    assert len(batches) == len(sampler)
    for batch in batches:
        for start in range(0, len(batch), group):
            assert len(set(labels[batch[start : start + group]])) == 1
    drawn = np.concatenate(batches)
    # All but the dropped last batch: at most one batch's worth of images is missing.
    assert len(np.setdiff1d(np.arange(len(labels)), drawn)) < max(group * groups_per_batch, 1) or len(batches) == 1
    again = list(ClassBatches(labels, group * groups_per_batch, group, seed).epoch(epoch))
    assert all(np.array_equal(a, b) for a, b in zip(batches, again, strict=True))


def test_every_image_once_when_classes_divide_evenly():
    labels = np.repeat(np.arange(6), 8)
    sampler = ClassBatches(labels, 16, 4, seed=3)
    first, second = (np.concatenate(list(sampler.epoch(e))) for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(48))
    assert not np.array_equal(first, second)


def test_a_class_smaller_than_its_group_repeats_its_images():
    labels = np.array([0, 1, 1, 1, 1])
    (batch,) = ClassBatches(labels, 8, 4, seed=0).epoch(0)
    assert np.count_nonzero(batch == 0) == 4


def test_unlabelled_images_fill_their_share_and_come_round():
    labels = np.concatenate([np.repeat(np.arange(4), 4), np.full(10, -1)])
    sampler = ClassBatches(labels, 8, 2, seed=0, unlabelled_ratio=0.5)
    batches = [batch for epoch in range(5) for batch in sampler.epoch(epoch)]
    assert all((labels[batch[:4]] >= 0).all() and (labels[batch[4:]] < 0).all() for batch in batches)
    counts = np.bincount(np.concatenate([batch[4:] for batch in batches]), minlength=26)[16:]
    assert counts.min() >= 1 and counts.max() - counts.min() <= 1


def test_only_unlabelled_images_still_make_epochs():
    batches = list(ClassBatches(np.full(10, -1), 4, 2, seed=0, unlabelled_ratio=0.5).epoch(0))
    assert [len(batch) for batch in batches] == [4, 4]
