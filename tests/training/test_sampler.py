from __future__ import annotations

import numpy as np
from hypothesis import example, given
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


@example(batch_size=4, group=4, ratio=0.875, sizes=[1, 1, 1])
@example(batch_size=4, group=4, ratio=0.05, sizes=[9, 9, 9])
@given(
    batch_size=st.integers(4, 70),
    group=st.integers(1, 8),
    ratio=st.floats(0.05, 0.95),
    sizes=st.lists(st.integers(1, 9), min_size=3, max_size=9),
)
def test_labelled_images_stay_whole_groups_beside_unlabelled_ones(batch_size, group, ratio, sizes):
    labels = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), np.full(10, -1)])
    sampler = ClassBatches(labels, batch_size, group, seed=0, unlabelled_ratio=ratio)
    for batch in sampler.epoch(0):
        labelled = labels[batch][labels[batch] >= 0]
        if len(batch) < batch_size:  # fewer labelled images than one batch takes
            continue
        assert (labels[batch] < 0).any()
        if batch_size > group:
            assert len(labelled) % group == 0
            for start in range(0, len(labelled), group):
                assert len(set(labelled[start : start + group])) == 1
        if batch_size > 2 * group:
            assert len(labelled) >= 2 * group
        assert abs(len(labelled) - batch_size * (1 - ratio)) <= 2 * group


def test_a_tenth_of_64_images_is_two_groups_of_four():
    """It was six images: every second group of four was cut in two."""
    labels = np.concatenate([np.repeat(np.arange(10), 12), np.full(1000, -1)])
    batches = list(ClassBatches(labels, 64, 4, seed=0, unlabelled_ratio=0.9).epoch(0))
    assert len(batches) == 120 // 8
    for batch in batches:
        assert len(batch) == 64
        _, counts = np.unique(labels[batch[:8]], return_counts=True)
        assert set(counts) <= {4, 8} and (labels[batch[8:]] < 0).all()
