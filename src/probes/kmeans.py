from __future__ import annotations

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from src.probes.labelled import Labelled, Score, check_splits
from src.runtime import check


def kmeans(fitted: Labelled, scored: Labelled, *, n_init: int, seed: int) -> Score:
    """How well k-means on the L2-normalised features of ``scored`` finds its classes; labels only judge.

    As many clusters as classes; ``accuracy`` under the best matching of clusters to classes.
    """
    check_splits("kmeans", scored)
    check.number("probe.kmeans.score.n_init", n_init, at_least=1, whole=True)
    check.number("probe.kmeans.score.seed", seed, at_least=0, at_most=2**32 - 1, whole=True)
    classes, truth = np.unique(scored.classes.numpy(), return_inverse=True)
    # tol 0 stops where no image changes its cluster: no result depends on the order in which threads add up
    model = KMeans(len(classes), n_init=n_init, random_state=seed, tol=0)
    with warnings.catch_warnings():
        # a collapsed encoder has fewer clusters: a low score says so
        warnings.simplefilter("ignore", ConvergenceWarning)
        clusters = model.fit_predict(F.normalize(scored.features.double(), dim=-1).numpy())
    first, index = np.unique(clusters, return_index=True, return_inverse=True)[1:]
    clusters = first.argsort().argsort()[index]  # numbered as they appear: what the numbers are is a matter of chance
    counts = np.zeros((len(classes), len(classes)), dtype=np.int64)
    np.add.at(counts, (clusters, truth), 1)
    cluster, matched = linear_sum_assignment(counts, maximize=True)
    right = matched[cluster.argsort()][clusters] == truth
    numbers = {
        "accuracy": float(right.mean()),
        "nmi": float(normalized_mutual_info_score(truth, clusters)),
        "ari": float(adjusted_rand_score(truth, clusters)),
    }
    return Score(numbers, torch.from_numpy(right))
