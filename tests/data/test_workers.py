import multiprocessing
import os

import cv2
import numpy as np
import pytest
from torch.utils.data import Dataset

from basicsr_entropy.data.workers import exit_if_orphaned, in_workers


class Things(Dataset):
    def __len__(self):
        return 5

    def __getitem__(self, index):
        return {'index': index, 'array': np.full(2, index), 'threads': cv2.getNumThreads()}


@pytest.mark.parametrize('workers', [0, 2])
def test_items_come_in_order_and_as_they_are(workers):
    items = list(in_workers(Things(), workers))
    assert [item['index'] for item in items] == [0, 1, 2, 3, 4]
    assert all(isinstance(item['array'], np.ndarray) for item in items)


def test_a_worker_has_one_thread_and_this_process_keeps_its_own():
    threads = cv2.getNumThreads()
    cv2.setNumThreads(4)
    try:
        assert {item['threads'] for item in in_workers(Things(), 2)} == {1}
        assert {item['threads'] for item in in_workers(Things(), 0)} == {4}
    finally:
        cv2.setNumThreads(threads)


def test_refuses_a_negative_number():
    with pytest.raises(ValueError, match='^workers: must be at least 0, got -1'):
        in_workers(Things(), -1)


def test_a_worker_ends_whose_parent_is_gone_when_it_starts():
    fork, codes = multiprocessing.get_context('fork'), []
    for parent in (os.getpid(), os.getppid()):
        process = fork.Process(target=exit_if_orphaned, args=(parent, 0))
        process.start()
        process.join()
        codes.append(process.exitcode)
    assert codes == [0, 1]
