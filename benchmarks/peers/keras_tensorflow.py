"""The lab's eight networks in Keras, as a course's notebook has them.

It stands for the plain Keras script: ``Sequential``, ``compile`` and ``fit`` with ``validation_data``, Keras'
defaults for all that the lab does not name, one network after another in one process, TensorFlow's own threads.
"""

import os
import time

os.environ["KERAS_BACKEND"] = "tensorflow"  # read when keras is imported

import keras
import numpy as np
from keras import layers

from common import load_arrays, parse_arguments, print_network, print_total


def build_model(depth, regularizer):
    """Return the compiled network."""

    def regularizer_layers():
        if regularizer == "dropout":
            return [layers.Dropout(0.1)]
        if regularizer == "batchnorm":
            return [layers.BatchNormalization()]
        return []

    model = keras.Sequential([keras.Input((28, 28, 1))])
    stack = []
    for _ in range(depth):
        penalty = keras.regularizers.L2(0.01) if regularizer == "l2" else None
        stack.append(layers.Conv2D(16, 3, activation="relu", kernel_regularizer=penalty))
        stack.append(layers.MaxPooling2D(2))
        stack += regularizer_layers()
    stack += [layers.Flatten(), layers.Dense(80, activation="relu"), *regularizer_layers()]
    stack.append(layers.Dense(10, activation="softmax"))
    for layer in stack:
        model.add(layer)
    model.compile(
        optimizer=keras.optimizers.SGD(learning_rate=0.01),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def main():
    """Train the networks one after another."""
    arguments = parse_arguments(__doc__)
    train_images, train_labels, val_images, val_labels = load_arrays(arguments.data)
    train_images = train_images[..., np.newaxis].astype(np.float32)
    val_images = val_images[..., np.newaxis].astype(np.float32)

    started = time.perf_counter()
    for depth, regularizer in arguments.networks:
        network_started = time.perf_counter()
        keras.utils.clear_session()
        keras.utils.set_random_seed(arguments.seed)
        model = build_model(depth, regularizer)
        history = model.fit(
            train_images,
            train_labels,
            batch_size=100,
            epochs=arguments.epochs,
            validation_data=(val_images, val_labels),
            verbose=0,
        ).history
        print_network(depth, regularizer, time.perf_counter() - network_started, history["val_accuracy"][-1])
    print_total(len(arguments.networks), time.perf_counter() - started)


if __name__ == "__main__":
    main()
