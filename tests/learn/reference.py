"""The seed's arithmetic in NumPy float64, written from the formulas: no JAX, no optax, nothing from `pretrain`."""

import numpy as np


def elu(values):
    return np.where(values > 0, values, np.expm1(np.minimum(values, 0)))


def elu_slope(values):
    return np.where(values > 0, 1.0, np.exp(np.minimum(values, 0)))


class Adam:
    """Kingma and Ba (2015), Algorithm 1, over a dict of arrays."""

    def __init__(self, learning_rate, steps_made=0, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.learning_rate, self.beta1, self.beta2, self.epsilon = learning_rate, beta1, beta2, epsilon
        self.steps, self.first, self.second = steps_made, {}, {}

    def update(self, params, gradients):
        self.steps += 1
        for name, gradient in gradients.items():
            self.first[name] = self.beta1 * self.first.get(name, 0.0) + (1 - self.beta1) * gradient
            self.second[name] = self.beta2 * self.second.get(name, 0.0) + (1 - self.beta2) * gradient**2
            mean = self.first[name] / (1 - self.beta1**self.steps)
            square = self.second[name] / (1 - self.beta2**self.steps)
            params[name] = params[name] - self.learning_rate * mean / (np.sqrt(square) + self.epsilon)


def phase1_gradients(p, x, l2):
    """784-300-784: elu encoder, linear decoder, mean squared error over batch and pixels, penalty on both kernels."""
    z = x @ p["W1"] + p["b1"]
    h = elu(z)
    y = h @ p["V1"] + p["c1"]
    dy = 2 * (y - x) / x.size
    dz = (dy @ p["V1"].T) * elu_slope(z)
    gradients = {"W1": x.T @ dz + l2 * p["W1"], "b1": dz.sum(0), "V1": h.T @ dy + l2 * p["V1"], "c1": dy.sum(0)}
    return gradients, np.mean((y - x) ** 2)


def phase2_gradients(p, h1, l2):
    """300-150-300, elu on both layers."""
    z = h1 @ p["W2"] + p["b2"]
    h2 = elu(z)
    u = h2 @ p["V2"] + p["c2"]
    y = elu(u)
    du = 2 * (y - h1) / h1.size * elu_slope(u)
    dz = (du @ p["V2"].T) * elu_slope(z)
    gradients = {"W2": h1.T @ dz + l2 * p["W2"], "b2": dz.sum(0), "V2": h2.T @ du + l2 * p["V2"], "c2": du.sum(0)}
    return gradients, np.mean((y - h1) ** 2)


def classifier(p, x):
    z1 = x @ p["W1"] + p["b1"]
    z2 = elu(z1) @ p["W2"] + p["b2"]
    logits = elu(z2) @ p["W3"] + p["b3"]
    shifted = logits - logits.max(1, keepdims=True)
    return z1, z2, logits, shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def classifier_gradients(p, x, labels, l2, frozen_layers):
    """784-300-150-10: softmax cross-entropy, mean over the batch, penalty on all three kernels."""
    z1, z2, logits, log_probabilities = classifier(p, x)
    h1, h2 = elu(z1), elu(z2)
    rows = np.arange(len(labels))
    d3 = np.exp(log_probabilities)
    d3[rows, labels] -= 1
    d3 /= len(labels)
    d2 = (d3 @ p["W3"].T) * elu_slope(z2)
    d1 = (d2 @ p["W2"].T) * elu_slope(z1)
    gradients = {
        "W1": x.T @ d1 + l2 * p["W1"],
        "b1": d1.sum(0),
        "W2": h1.T @ d2 + l2 * p["W2"],
        "b2": d2.sum(0),
        "W3": h2.T @ d3 + l2 * p["W3"],
        "b3": d3.sum(0),
    }
    for layer in range(1, frozen_layers + 1):
        del gradients[f"W{layer}"], gradients[f"b{layer}"]
    return gradients, -log_probabilities[rows, labels].mean(), np.mean(logits.argmax(1) == labels)
