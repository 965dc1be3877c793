"""Train dictionaries: TopK or JumpReLU, per-layer or cross-layer, on any supported model."""

from circuit_tracer.transcoders.training.config import TrainingConfig
from circuit_tracer.transcoders.training.progress import Progress
from circuit_tracer.transcoders.training.run import TrainingSummary, train, train_in_memory

__all__ = ["Progress", "TrainingConfig", "TrainingSummary", "train", "train_in_memory"]
