"""The figures of a benchmark result, as the JSON file holds them: times, Recall, agreement, drops, galleries, energy."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "AGREEMENT_K",
    "Agreement",
    "Asymmetric",
    "Cosine",
    "EnergyUse",
    "Flips",
    "Fraction",
    "Latency",
    "Part",
    "Recall",
    "RecallDrop",
    "Storage",
]

AGREEMENT_K = 10

Fraction = Annotated[float, Field(ge=0, le=1)]
Recall = dict[int, Fraction]  # K -> Recall@K


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, populate_by_name=True)


class Latency(Part):
    """Wall-clock times of single inferences, milliseconds. Percentiles interpolate linearly (NumPy's default)."""

    p50: float
    p90: float
    p99: float
    mean: float
    min: float
    samples: int = Field(ge=1)
    raw: list[float]  # all samples in the order taken, rounded to 0.1 microseconds

    @classmethod
    def of(cls, nanoseconds: list[int]) -> Latency:
        """Summarize samples.

        Raises:
            ValueError: no samples.
        """
        import numpy as np  # here, so that reading a result does not need it

        if not nanoseconds:
            raise ValueError("no latency samples")
        raw = np.round(np.asarray(nanoseconds, dtype=np.float64) / 1e6, 4)
        p50, p90, p99 = np.percentile(raw, [50, 90, 99])
        return cls(p50=p50, p90=p90, p99=p99, mean=raw.mean(), min=raw.min(), samples=len(raw), raw=raw.tolist())

    @model_validator(mode="after")
    def _counts_agree(self) -> Latency:
        if len(self.raw) != self.samples:
            raise ValueError(f"samples is {self.samples} but raw holds {len(self.raw)} values")
        return self


class RecallDrop(Part):
    """PyTorch's Recall@K (or agreement@K) minus the variant's on the same queries (positive: the variant is worse)."""

    value: float = Field(ge=-1, le=1)
    ci95: tuple[float, float]  # paired bootstrap over classes (of an agreement: over queries)


class Agreement(Part):
    """How far a model finds what a reference finds, when each image searches all others; needs no labels.

    Definitions: ``distill/metrics/agreement.py``. Intervals resample queries.
    """

    reference: str  # "PyTorch", or the name of a reference or variant
    overlap: Recall  # K -> share of the reference's K nearest images among the model's K nearest
    overlap_ci95: dict[int, tuple[float, float]]
    rank_correlation: float | None = Field(ge=-1, le=1)  # Spearman, over the reference's ``ranked`` nearest images
    rank_correlation_ci95: tuple[float, float] | None
    ranked: int
    overlap_drop: dict[int, RecallDrop] | None = None  # against PyTorch's agreement with the same reference
    queries: int | None = None  # drawn at random from more; null: every image queried

    @property
    def main_k(self) -> int:
        """The K of the figure that gates, verdict and charts use: 10, or the largest that was measured below."""
        return max((k for k in self.overlap if k <= AGREEMENT_K), default=min(self.overlap))


class Cosine(Part):
    """Cosine between the variant's and PyTorch's embedding of the same image, over all images."""

    mean: float
    min: float


class Flips(Part):
    """Queries whose nearest image is right in PyTorch only (lost) or in the variant only (gained)."""

    lost: int = Field(ge=0)
    gained: int = Field(ge=0)
    lost_keys: list[str] = []  # the first few keys of the data set
    gained_keys: list[str] = []


class Storage(Part):
    """A gallery stored in one way and searched accordingly. The drop is against the same embeddings as float32."""

    name: Literal["float32", "int8", "int8+bits"]
    bytes_per_image: int
    recall: Recall | None = None  # null: the images have no labels
    map_at_r: Fraction | None  # null where the search is for 20 images only
    recall_drop: RecallDrop | None = None  # of Recall@1
    queries: int | None = None  # drawn at random from more; null: every image queried all others
    agreement: Agreement | None = None  # with the same embeddings as float32; only without labels


class Asymmetric(Part):
    """This variant's queries on a gallery indexed by another model.

    The drop is against that model's own queries on the same gallery.
    """

    gallery: str
    recall: Recall | None = None  # null: the images have no labels
    map_at_r: Fraction | None = None
    recall_drop: RecallDrop | None = None  # of Recall@1
    queries: int | None = None  # as in Storage
    agreement: Agreement | None = None  # with the gallery model's own queries; only without labels


class EnergyUse(Part):
    """Energy that the whole device took from its battery while the variant ran continuously (``--energy``, experimental)."""

    method: Literal["power", "current", "charge"]  # counter: power, current times voltage, charge times voltage
    seconds: float
    inferences: int = Field(ge=1)
    watts: float  # mean during the run
    idle_watts: float | None  # mean at rest, before the program starts; null: the counter is too coarse
    mj_per_inference: float  # millijoules, screen and radios included
    net_mj_per_inference: float | None  # above idle
    readings: int  # of the battery during the run
