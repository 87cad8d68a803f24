from __future__ import annotations

import torch
from jaxtyping import Float
from sklearn.cluster import KMeans
from torch import Tensor

from src.runtime import check
from src.runtime.rng import derived_seed, generator


def cluster_learnability(h: Float[Tensor, "m d"], *, restarts: int, seed: int) -> float:
    """Accuracy in [0, 1] of one nearest neighbour of one half predicting the k-means cluster of the other half.

    round(sqrt(m)) clusters of all m embeddings as they are (Euclidean, neither centred nor normalised), the best of
    ``restarts`` starts. Alone it favours few tight clumps, which is why CLID adds a dimension. Raises ValueError for
    fewer than 4 embeddings, or fewer different ones than clusters. Source: Lu et al., CLID (arXiv 2206.01251).
    """
    check.number("criterion.score.restarts of cluster_learnability", restarts, at_least=1, whole=True)
    m = len(h)
    clusters = round(m**0.5)
    different = len(h.unique(dim=0))
    if m < 4 or different < clusters:
        raise ValueError(
            f"cluster_learnability needs at least 4 embeddings and {clusters} different ones for its clusters, got "
            f"{m} with {different} different: raise evaluation.pairwise_images, or the trial collapsed"
        )
    # centring moves no distance, and a common offset would cost them digits
    x = h.double() - h.double().mean(0)
    start = derived_seed(seed, "cluster learnability") % 2**32  # numpy takes 32 bits
    label = torch.from_numpy(KMeans(clusters, n_init=restarts, random_state=start).fit_predict(x.numpy()))
    known, asked = torch.randperm(m, generator=generator(seed, "cluster learnability")).tensor_split(2)
    nearest = torch.cdist(x[asked], x[known]).argmin(1)
    return float((label[known][nearest] == label[asked]).double().mean())
