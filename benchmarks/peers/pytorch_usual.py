"""The lab's eight networks in PyTorch, as a tutorial's reader writes them.

It stands for the usual PyTorch script: a module of ``nn`` layers, eager, (N, C, H, W) float images in a
``DataLoader`` over a ``TensorDataset``, ``loss.item()`` at every step, validation under ``no_grad`` after every epoch,
torch's defaults for initial weights and batch norm, one network after another in one process, torch's own threads.
"""

import time

import torch
import torch._dynamo  # by torch.optim at its first use otherwise: an import, not a part of the training
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from common import load_arrays, parse_arguments, print_network, print_total


class SmallCNN(nn.Module):
    """One or two convolution blocks, a dense layer of 80 units, ten logits."""

    def __init__(self, depth, regularizer):
        super().__init__()
        blocks = []
        channels, size = 1, 28
        for _ in range(depth):
            blocks += [nn.Conv2d(channels, 16, 3), nn.ReLU(), nn.MaxPool2d(2)]
            if regularizer == "dropout":
                blocks.append(nn.Dropout(0.1))
            elif regularizer == "batchnorm":
                blocks.append(nn.BatchNorm2d(16))
            channels, size = 16, (size - 2) // 2
        head = [nn.Flatten(), nn.Linear(16 * size * size, 80), nn.ReLU()]
        if regularizer == "dropout":
            head.append(nn.Dropout(0.1))
        elif regularizer == "batchnorm":
            head.append(nn.BatchNorm1d(80))
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(*head, nn.Linear(80, 10))
        self.strength = 0.01 if regularizer == "l2" else 0.0

    def forward(self, x):
        """Return logits (N, 10) for images (N, 1, 28, 28)."""
        return self.head(self.blocks(x))

    def penalty(self):
        """Return the L2 penalty of the convolution kernels."""
        return self.strength * sum(m.weight.square().sum() for m in self.modules() if isinstance(m, nn.Conv2d))


def train_epoch(model, loader, criterion, optimizer):
    """Train for one epoch; return its mean loss and accuracy."""
    model.train()
    loss_sum, correct = 0.0, 0
    for images, labels in loader:
        optimizer.zero_grad()
        logits = model(images)
        loss = criterion(logits, labels)
        if model.strength:
            loss = loss + model.penalty()
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(labels)
        correct += (logits.argmax(1) == labels).sum().item()
    return loss_sum / len(loader.dataset), correct / len(loader.dataset)


def evaluate(model, loader, criterion):
    """Return mean loss and accuracy."""
    model.eval()
    loss_sum, correct = 0.0, 0
    with torch.no_grad():
        for images, labels in loader:
            logits = model(images)
            loss_sum += criterion(logits, labels).item() * len(labels)
            correct += (logits.argmax(1) == labels).sum().item()
    return loss_sum / len(loader.dataset), correct / len(loader.dataset)


def main():
    """Train the networks one after another."""
    arguments = parse_arguments(__doc__)
    train_images, train_labels, val_images, val_labels = map(torch.from_numpy, load_arrays(arguments.data))
    train_set = TensorDataset(train_images.unsqueeze(1).float(), train_labels)
    val_set = TensorDataset(val_images.unsqueeze(1).float(), val_labels)

    started = time.perf_counter()
    for depth, regularizer in arguments.networks:
        network_started = time.perf_counter()
        torch.manual_seed(arguments.seed)
        train_loader = DataLoader(train_set, batch_size=100, shuffle=True)
        val_loader = DataLoader(val_set, batch_size=1000)
        model = SmallCNN(depth, regularizer)
        criterion = nn.CrossEntropyLoss()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        history = []
        for _ in range(arguments.epochs):
            loss, accuracy = train_epoch(model, train_loader, criterion, optimizer)
            val_loss, val_accuracy = evaluate(model, val_loader, criterion)
            history.append((loss, accuracy, val_loss, val_accuracy))
        print_network(depth, regularizer, time.perf_counter() - network_started, history[-1][-1])
    print_total(len(arguments.networks), time.perf_counter() - started)


if __name__ == "__main__":
    main()
