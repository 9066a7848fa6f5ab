"""Writes adamw-torch.json: python adamw-torch.py > adamw-torch.json"""

import json

import torch

torch.manual_seed(1)
STEPS = 20
BETA1 = 0.9
WEIGHT_DECAY = 0.1
RATES = [0.05 * (1 - step / STEPS) for step in range(STEPS)]
FIRST = [torch.randn(3, 4), torch.randn(4)]
GRADIENTS = [[torch.randn(3, 4), torch.randn(4)] for _ in range(STEPS)]


def run(max_grad_norm):
    kernel, bias = [torch.nn.Parameter(values.clone()) for values in FIRST]
    groups = [
        {"params": [kernel], "weight_decay": WEIGHT_DECAY},
        {"params": [bias], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(BETA1, 0.999), eps=1e-8)
    weights = []
    for rate, gradients in zip(RATES, GRADIENTS):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for parameter, gradient in zip([kernel, bias], gradients):
            parameter.grad = gradient.clone()
        if max_grad_norm is not None:
            torch.nn.utils.clip_grad_norm_([kernel, bias], max_grad_norm)
        optimizer.step()
        weights.append([flat(kernel), flat(bias)])
    return {"maxGradNorm": max_grad_norm, "weights": weights}


def flat(values):
    return values.detach().flatten().tolist()


print(
    json.dumps(
        {
            "torch": torch.__version__,
            "weightDecay": WEIGHT_DECAY,
            "beta1": BETA1,
            "rates": RATES,
            "first": [flat(values) for values in FIRST],
            "gradients": [[flat(values) for values in step] for step in GRADIENTS],
            "runs": [run(None), run(0.5)],
        }
    )
)
