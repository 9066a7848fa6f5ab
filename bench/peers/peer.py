"""The peers: makes steps when told to, one JSON object a line.

{"do": "load", "sizes": [...], "weights": file, "gradients": file} -> {"rivals": [...], "missing": [...]}
{"do": "check", "name": ..., "steps": 3, "out": file}              -> {}: weights after the steps are in the file
{"do": "step", "name": ..., "count": 1}                             -> {"ms": ...}: all steps together

Threads are an argument: JAX takes them from the cores that the process may use, PyTorch from a call.
"""

import importlib
import json
import os
import sys
import time
import traceback

THREADS = int(sys.argv[1])
LEARNING_RATE, MOMENTUM, WEIGHT_DECAY, MAX_UNORM, COEFFICIENT = map(float, sys.argv[2:7])

if THREADS == 1:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import numpy as np  # noqa: E402  (after the cores are chosen)


class TorchPeer:
    """Weights and gradients as parameters of PyTorch."""

    def __init__(self, weights, gradients):
        import torch

        torch.set_num_threads(THREADS)
        self.initial = weights
        self.gradients = [torch.from_numpy(values) for values in gradients]

    def reset(self):
        import torch

        self.params = [torch.nn.Parameter(torch.from_numpy(values.copy())) for values in self.initial]
        for parameter, gradient in zip(self.params, self.gradients):
            parameter.grad = gradient
        self.begin()

    def weights(self):
        return [parameter.detach().numpy() for parameter in self.params]


class TorchOptimizer(TorchPeer):
    """One of PyTorch's own optimizers, or one made like them."""

    def __init__(self, weights, gradients, create):
        super().__init__(weights, gradients)
        self.create = create

    def begin(self):
        self.optimizer = self.create(self.params)

    def step(self):
        self.optimizer.step()


def lars_layer(w, g, m):
    """The library's default rule, `clip-update`, in tensor operations."""
    import torch

    m.mul_(MOMENTUM).add_(g).add_(w, alpha=WEIGHT_DECAY)
    weight_norm, update_norm = torch.linalg.vector_norm(w), torch.linalg.vector_norm(m)
    ratio = torch.clamp(MAX_UNORM * weight_norm / update_norm, max=1.0)
    ratio = torch.where((weight_norm > 0) & (update_norm > 0), ratio, 1.0)
    w.sub_(m * (LEARNING_RATE * ratio))


class TorchRule(TorchPeer):
    """The rule in tensor operations, eager or compiled as one graph over all layers."""

    def __init__(self, weights, gradients, compiled):
        super().__init__(weights, gradients)
        self.step_all = self.eager
        if compiled:
            import torch

            self.step_all = torch.compile(self.eager, fullgraph=True, dynamic=False)

    @staticmethod
    def eager(weights, gradients, momenta):
        for w, g, m in zip(weights, gradients, momenta):
            lars_layer(w, g, m)

    def begin(self):
        import torch

        self.momenta = [torch.zeros_like(parameter) for parameter in self.params]
        self.data = [parameter.detach() for parameter in self.params]

    def step(self):
        import torch

        with torch.no_grad():
            self.step_all(self.data, self.gradients, self.momenta)


class OptaxLars:
    """optax.lars, jitted with its arguments donated, so that it may write in place."""

    def __init__(self, weights, gradients):
        import jax
        import optax

        self.initial = weights
        self.jax = jax
        self.gradients = [jax.numpy.asarray(values) for values in gradients]
        self.optimizer = optax.lars(
            LEARNING_RATE,
            weight_decay=WEIGHT_DECAY,
            trust_coefficient=COEFFICIENT,
            momentum=MOMENTUM,
        )

        def step(params, state, gradients):
            updates, state = self.optimizer.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        self.jitted = jax.jit(step, donate_argnums=(0, 1))

    def reset(self):
        self.params = [self.jax.numpy.array(values, copy=True) for values in self.initial]
        self.state = self.optimizer.init(self.params)

    def step(self):
        self.params, self.state = self.jitted(self.params, self.state, self.gradients)
        self.jax.block_until_ready(self.params)

    def weights(self):
        return [np.asarray(values) for values in self.params]


def sgd(**options):
    def create(params):
        import torch

        return torch.optim.SGD(
            params, lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, **options
        )

    return lambda weights, gradients: TorchOptimizer(weights, gradients, create)


def bitsandbytes_lars(name):
    """Without weight decay, which its update norm leaves out."""

    def create(params):
        import bitsandbytes

        return getattr(bitsandbytes.optim, name)(
            params, lr=LEARNING_RATE, momentum=MOMENTUM, max_unorm=MAX_UNORM
        )

    return lambda weights, gradients: TorchOptimizer(weights, gradients, create)


# Name, what it computes (in the words of src/rules.ts), bits, module it needs, how it is made.
PEERS = [
    ("torch SGD", "none", 32, "torch", sgd()),
    ("torch SGD(foreach=True)", "none", 32, "torch", sgd(foreach=True)),
    ("torch SGD(fused=True)", "none", 32, "torch", sgd(fused=True)),
    ("torch LARS rule, compiled", "clip-update", 32, "torch", lambda w, g: TorchRule(w, g, True)),
    ("torch LARS rule, eager", "clip-update", 32, "torch", lambda w, g: TorchRule(w, g, False)),
    ("optax.lars, jit", "optax", 32, "optax", OptaxLars),
    ("bitsandbytes LARS32bit", "bitsandbytes", 32, "bitsandbytes", bitsandbytes_lars("LARS32bit")),
    ("bitsandbytes LARS8bit", "momentum", 8, "bitsandbytes", bitsandbytes_lars("LARS8bit")),
]

rivals = {}


def described(module):
    """A module with its version. Without its compiled library bitsandbytes quantizes in slow tensor operations."""
    version = f"{module} {importlib.import_module(module).__version__}"
    if module != "bitsandbytes":
        return version
    from bitsandbytes import cextension

    is_mock = isinstance(cextension.lib, cextension.ErrorHandlerMockBNBNativeLibrary)
    return f"{version} without its compiled library" if is_mock else version


def load(sizes, weights, gradients):
    bounds = np.cumsum(sizes)[:-1]
    parts = [np.split(np.fromfile(path, np.float32), bounds) for path in (weights, gradients)]
    found, missing = [], []
    for name, rule, bits, module, create in PEERS:
        try:
            version = described(module)
            rivals[name] = create(*parts)
            rivals[name].reset()
            found.append({"name": name, "rule": rule, "bits": bits, "version": version})
        except Exception as error:
            missing.append({"name": name, "reason": f"{type(error).__name__}: {error}"})
    return {"rivals": found, "missing": missing}


def check(name, steps, out):
    rivals[name].reset()
    for _ in range(steps):
        rivals[name].step()
    np.concatenate([np.ravel(values) for values in rivals[name].weights()]).tofile(out)
    return {}


def step(name, count):
    start = time.perf_counter()
    for _ in range(count):
        rivals[name].step()
    return {"ms": (time.perf_counter() - start) * 1000}


ACTIONS = {"load": load, "check": check, "step": step}

# Libraries that print would break the protocol: only answers go to the real standard output.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = ACTIONS[request.pop("do")](**request)
    except Exception as error:
        traceback.print_exc()
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), file=answers, flush=True)
