"""The lab's eight networks in PyTorch, by somebody who knows what costs time on a CPU.

It stands for eager PyTorch tuned by hand, without a compiler: a single-threaded process per core, longest networks
first; channels-last maps; images kept as bytes and gathered by a permutation; ReLU after the pooling (the same function
on a quarter of the values); L2 as weight decay; fused SGD; nothing read back inside an epoch; torch's default initial
weights and batch norm. The clock starts when all processes have imported torch and loaded the data.
"""

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed

import torch
import torch._dynamo  # by torch.optim at its first use otherwise: an import, not a part of the training
import torch.nn.functional as F
from torch import nn

from common import load_arrays, parse_arguments, print_network, print_total

ENVIRONMENT = {  # of the processes: one thread, and glibc keeps freed memory instead of faulting it in at every step
    "OMP_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "10000000000",
}
COST = {1: 4.3, 2: 5.6, "none": 0.0, "l2": 0.1, "batchnorm": 0.7, "dropout": 1.3}  # their sum ranks the networks
DATA = []  # of each process: train images and labels, validation images and labels


class Dropout(nn.Module):
    """Inverted dropout; comparing uniform numbers is quicker on a CPU than the Bernoulli draws of ``nn.Dropout``."""

    def __init__(self, rate):
        super().__init__()
        self.kept = 1 - rate

    def forward(self, x):
        """Return ``x``, while training with some of it zeroed and the rest scaled up."""
        return x * torch.rand_like(x).lt_(self.kept).mul_(1 / self.kept) if self.training else x


class SmallCNN(nn.Module):
    """One or two convolution blocks, a dense layer of 80 units, ten logits."""

    def __init__(self, depth, regularizer):
        super().__init__()
        kinds = {"dropout": lambda _: Dropout(0.1), "batchnorm": nn.BatchNorm2d}
        make = kinds.get(regularizer, nn.Identity)
        self.convs = nn.ModuleList(nn.Conv2d(channels, 16, 3) for channels in (1, 16)[:depth])
        self.extras = nn.ModuleList(make(16) for _ in range(depth))
        self.dense = nn.Linear(16 * (13 * 13 if depth == 1 else 5 * 5), 80)
        self.extra = nn.BatchNorm1d(80) if regularizer == "batchnorm" else make(80)
        self.output = nn.Linear(80, 10)

    def forward(self, x):
        """Return logits (N, 10) for images (N, 1, 28, 28)."""
        for conv, extra in zip(self.convs, self.extras, strict=True):
            x = extra(F.relu(F.max_pool2d(conv(x), 2), inplace=True))
        x = x.permute(0, 2, 3, 1).flatten(1)  # a view of channels-last maps
        return self.output(self.extra(F.relu(self.dense(x), inplace=True)))


def prepare(path, ready):
    """Set up a process: one thread, and the data in memory."""
    torch.set_num_threads(1)
    try:
        train_images, train_labels, val_images, val_labels = map(torch.from_numpy, load_arrays(path))
    except BaseException:
        ready.abort()  # nobody shall wait for this process
        raise
    DATA[:] = train_images.unsqueeze(1), train_labels, val_images.unsqueeze(1), val_labels
    ready.wait(600)


def to_float(images):
    """Return a batch of bytes as float32 in channels-last order."""
    return images.to(torch.float32, memory_format=torch.channels_last)


def train_epoch(model, optimizer, images, labels):
    """Train for one epoch; return its mean loss (without the penalty) and accuracy."""
    model.train()
    loss_sum, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
    for batch in torch.randperm(len(labels)).split(100):
        batch_labels = labels.index_select(0, batch)
        logits = model(to_float(images.index_select(0, batch)))
        loss = F.cross_entropy(logits, batch_labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss_sum += loss.detach() * len(batch)
        correct += (logits.detach().argmax(1) == batch_labels).sum()
    return loss_sum.item() / len(labels), correct.item() / len(labels)


@torch.inference_mode()
def evaluate(model, images, labels):
    """Return mean loss and accuracy."""
    model.eval()
    loss_sum, correct = torch.zeros(()), torch.zeros((), dtype=torch.int64)
    for batch, batch_labels in zip(images.split(1000), labels.split(1000), strict=True):
        logits = model(to_float(batch))
        loss_sum += F.cross_entropy(logits, batch_labels, reduction="sum")
        correct += (logits.argmax(1) == batch_labels).sum()
    return loss_sum.item() / len(labels), correct.item() / len(labels)


def train(depth, regularizer, epochs, seed):
    """Train one network; return what is printed of it."""
    started = time.perf_counter()
    train_images, train_labels, val_images, val_labels = DATA
    torch.manual_seed(seed)
    model = SmallCNN(depth, regularizer).to(memory_format=torch.channels_last)
    kernels = [conv.weight for conv in model.convs] if regularizer == "l2" else []
    others = [p for p in model.parameters() if all(p is not kernel for kernel in kernels)]
    groups = [{"params": others}]
    if kernels:
        groups.append({"params": kernels, "weight_decay": 2 * 0.01})  # the gradient of 0.01 * sum(kernel ** 2)
    optimizer = torch.optim.SGD(groups, lr=0.01, fused=True)
    history = []
    for _ in range(epochs):
        fitted = train_epoch(model, optimizer, train_images, train_labels)
        history.append((*fitted, *evaluate(model, val_images, val_labels)))
    return depth, regularizer, time.perf_counter() - started, history[-1][-1]


def main():
    """Train the networks on all cores."""
    arguments = parse_arguments(__doc__)
    networks = sorted(arguments.networks, key=lambda network: -sum(COST[part] for part in network))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processes = min(cores, len(networks))
    os.environ.update(ENVIRONMENT)  # inherited by the processes
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Barrier(processes + 1)
    with ProcessPoolExecutor(processes, spawn, prepare, (arguments.data, ready)) as pool:
        futures = [pool.submit(train, *network, arguments.epochs, arguments.seed) for network in networks]
        ready.wait(600)
        started = time.perf_counter()
        for future in as_completed(futures):
            print_network(*future.result())
        seconds = time.perf_counter() - started
    print_total(len(networks), seconds)


if __name__ == "__main__":
    main()
