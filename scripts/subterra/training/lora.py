"""LoRA: small trained matrices beside the frozen ones, and what is known of it. Loads nothing until it is used."""

from collections.abc import Mapping
from typing import Any

LORA_WARNING = (
    "method: lora trains few parameters: a companion paper of the method reports that LoRA of rank 16 to 128 does not "
    "reach full fine-tuning on procedures. Compare the report's conformance with that of method: full."
)


def with_lora(model, settings: Mapping[str, Any]):
    """Return the model with small trained matrices beside every linear map but the last; the others are frozen."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        target_modules="all-linear",
        r=settings["rank"],
        lora_alpha=settings["alpha"],
        lora_dropout=settings["dropout"],
    )
    return get_peft_model(model, config)
