"""Changes: settings that a callback may change while its agent learns, and that a compiled update takes for fixed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rl_tickets.training.cohorts.on_policy.losses import loss_of
from rl_tickets.training.cohorts.optimizers import rule_of


def settings_of(model: Any) -> dict[str, Any]:
    """By SB3's names, what an agent's next update goes by, but for what may differ between members."""
    return {
        **asdict(loss_of(model)),
        "max_grad_norm": float(model.max_grad_norm),
        "target_kl": getattr(model, "target_kl", None),
        "n_epochs": getattr(model, "n_epochs", 1),
        "batch_size": getattr(model, "batch_size", None),
        "optimizer": rule_of(model.policy.optimizer),
        "requires_grad": [p.requires_grad for p in model.policy.parameters()],
    }


def changed(model: Any, joined: dict[str, Any]) -> str | None:
    """The name of a setting that is not what it was, if any."""
    return next((name for name, value in settings_of(model).items() if value != joined[name]), None)
