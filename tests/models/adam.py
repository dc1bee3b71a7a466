"""Adam, the optimizer of both training scripts."""

import jax
import jax.numpy as jnp


def start(weights):
    """The state before the first step."""
    zeros = jax.tree.map(jnp.zeros_like, weights)
    return zeros, zeros, 0


def step(weights, gradient, state, rate):
    """The weights and the state after a step."""
    first, second, count = state
    count += 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradient)
    second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradient)
    correction = jnp.sqrt(1 - 0.999**count) / (1 - 0.9**count)
    weights = jax.tree.map(lambda w, m, v: w - rate * correction * m / (jnp.sqrt(v) + 1e-8), weights, first, second)
    return weights, (first, second, count)
