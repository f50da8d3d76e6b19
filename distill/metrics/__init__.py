"""Retrieval metrics and their statistics, in NumPy without torch or faiss.

Example:
    >>> import numpy as np
    >>> from distill.metrics import recall_at_k
    >>> embeddings = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]], dtype=np.float32)
    >>> recall_at_k(embeddings, [0, 0, 1, 1], ks=(1,))
    {1: 1.0}
"""

from distill.metrics.agreement import (
    AGREEMENT_KS,
    NeighbourAgreement,
    NeighbourLists,
    agreement_of,
    neighbour_agreement,
    neighbour_lists,
)
from distill.metrics.bootstrap import Drop, bootstrap_ci, paired_drop_ci
from distill.metrics.inputs import counted_queries, unit_rows
from distill.metrics.mcnemar import McNemar, mcnemar_exact
from distill.metrics.neighbours import nearest
from distill.metrics.nmi import nmi
from distill.metrics.ranking import RetrievalScores, map_at_r, r_precision, ranked_scores, retrieval_scores
from distill.metrics.recall import hits_at_k, recall_at_k
from distill.metrics.verification import (
    Verification,
    accuracy_at,
    best_threshold,
    pair_similarities,
    verification_accuracy,
)

__all__ = [
    "AGREEMENT_KS",
    "Drop",
    "McNemar",
    "NeighbourAgreement",
    "NeighbourLists",
    "RetrievalScores",
    "Verification",
    "accuracy_at",
    "agreement_of",
    "best_threshold",
    "bootstrap_ci",
    "counted_queries",
    "hits_at_k",
    "map_at_r",
    "mcnemar_exact",
    "nearest",
    "neighbour_agreement",
    "neighbour_lists",
    "nmi",
    "pair_similarities",
    "paired_drop_ci",
    "r_precision",
    "ranked_scores",
    "recall_at_k",
    "retrieval_scores",
    "unit_rows",
    "verification_accuracy",
]
