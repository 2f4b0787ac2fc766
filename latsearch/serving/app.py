"""The HTTP application around one network."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import torch
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from torch import Tensor

from latsearch import __version__
from latsearch.evaluation import LoadedNetwork
from latsearch.inputs import InputShape
from latsearch.located import Model
from latsearch.predicting import class_name
from latsearch.serving.answers import (
    REFUSALS,
    Health,
    Info,
    Prediction,
    Predictions,
    request_body,
)
from latsearch.serving.batching import Batcher, Busy
from latsearch.serving.bodies import BadInput, Bodies
from latsearch.serving.options import ServeOptions
from latsearch.serving.requests import BodyLimit, read_images
from latsearch.snn.decoding import Decision

_CARD = "model_card.json"
_RETRY_AFTER = 1  # seconds


class Service:
    """A network, its threshold and the queue before it.

    Args:
        model: where the network is.
        network: the network.
        threshold: potential above which a class spikes.
        options: limits.
    """

    def __init__(
        self, model: Model, network: LoadedNetwork, threshold: float, options: ServeOptions
    ):
        self.options = options
        self.wanted = InputShape.of(network.info)
        self.bodies = Bodies(
            self.wanted,
            resize=options.resize,
            max_pixels=options.max_pixels,
            max_images=options.max_waiting,
        )
        self.batcher = Batcher(
            self._decide, max_batch=options.max_batch, max_waiting=options.max_waiting
        )
        self.info = _info(model, network, threshold, options, self.wanted)
        self._network = network
        self._threshold = threshold
        self._names = self.info.class_names

    def warm_up(self) -> None:
        """Decide blank images once, so that the first client does not wait for it."""
        for size in (self.options.max_batch, 1):
            blank = torch.zeros((size, *self.wanted.shape), dtype=torch.uint8)
            self._decide(self._network.normalized(blank))

    async def predict(self, request: Request, *, batch: bool) -> list[dict[str, Any]]:
        """The answers to a request, one for each of its images.

        Raises:
            BadInput: its body cannot be used, or did not arrive in time.
            Busy: too much waits, or the answer took too long.
        """
        try:
            async with asyncio.timeout(self.options.timeout):
                arrays = await read_images(request, self.bodies, batch=batch)
        except TimeoutError:
            raise BadInput(
                408, f"the body did not arrive within {self.options.timeout:g} s"
            ) from None
        images = torch.cat([self._network.normalized(array) for array in arrays])
        try:
            async with asyncio.timeout(self.options.timeout):
                return self._answers(await self.batcher.submit(images))
        except TimeoutError:
            raise Busy(f"no answer within {self.options.timeout:g} s") from None

    def _decide(self, images: Tensor) -> Decision:
        return self._network.decide_normalized(images, self._threshold)

    def _answers(self, decision: Decision) -> list[dict[str, Any]]:
        columns = (decision.prediction, decision.decision_time, decision.silent)
        return [
            {
                "prediction": label,
                "class_name": class_name(self._names, label),
                "decision_time": time,
                "silent": silent,
            }
            for label, time, silent in zip(*(x.tolist() for x in columns), strict=True)
        ]


def build_app(service: Service) -> FastAPI:
    """The application: ``/health``, ``/info``, ``/predict``, ``/predict/batch``."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await service.batcher.close()

    app = FastAPI(
        title=f"latsearch: {service.info.name}",
        description="A latency-coded spiking network that decides at its first output spike.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
    )
    app.add_middleware(BodyLimit, most=service.options.max_body)
    app.add_exception_handler(BadInput, _refused)
    app.add_exception_handler(Busy, _busy)

    @app.get("/health", summary="Whether the server can answer")
    async def health() -> Health:
        batcher = service.batcher
        return Health(
            status="ok", waiting=batcher.waiting, images=batcher.images, batches=batcher.batches
        )

    @app.get("/info", summary="The network, its card and the limits")
    async def info() -> Info:
        return service.info

    def route(path: str, answer: type[Any], summary: str, *, batch: bool) -> None:
        app.add_api_route(
            path,
            _predictor(service, batch=batch),
            methods=["POST"],
            summary=summary,
            response_model=answer,
            responses=REFUSALS,
            openapi_extra=request_body(service.wanted, batch=batch),
        )

    route("/predict", Prediction, "Decide one image", batch=False)
    route("/predict/batch", Predictions, "Decide several images", batch=True)
    return app


def _predictor(service: Service, *, batch: bool) -> Callable[[Request], Awaitable[JSONResponse]]:
    async def predict(request: Request) -> JSONResponse:
        answers = await service.predict(request, batch=batch)
        return JSONResponse({"predictions": answers} if batch else answers[0])

    return predict


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BadInput)
    return JSONResponse({"detail": error.reason}, error.status)


async def _busy(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": f"{error}; try again"}, 503, {"Retry-After": str(_RETRY_AFTER)})


def _info(
    model: Model,
    network: LoadedNetwork,
    threshold: float,
    options: ServeOptions,
    wanted: InputShape,
) -> Info:
    info = network.info
    names = ("max_body", "max_pixels", "max_batch", "max_waiting", "timeout")
    return Info(
        name=model.name,
        input_shape=list(wanted.shape),
        classes=info.classes,
        class_names=list(model.class_names()),
        timesteps=network.module.timesteps,
        rule=network.module.config.decision,
        decision_threshold=threshold if math.isfinite(threshold) else None,
        weights=info.weights,
        dataset=info.dataset,
        limits={name: getattr(options, name) for name in names},
        card=_card(model.checkpoint),
    )


def _card(folder: Path) -> dict[str, Any] | None:
    """The card beside the weights; None where there is none that can be read."""
    try:
        found = json.loads((folder / _CARD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
