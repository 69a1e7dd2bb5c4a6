"""How a stage is done: which units it has, make one group of them, finish."""

from infra.threads import wait_briefly

wait_briefly()  # here, as whatever computes imports this package before torch
