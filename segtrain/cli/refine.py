"""The command `segtrain refine`."""

from dataclasses import MISSING, asdict, dataclass
from pathlib import Path

import click

from jobs.console.exit_codes import interrupted
from jobs.console.options import command, config_file, configured, json_option
from jobs.console.progress import Progress
from jobs.console.settings import require_settings, setting, setting_of
from jobs.console.values import percent, print_json
from propagate.cli.run import print_summary
from propagate.job.config import Continuation, RunConfig, require_engine
from segtrain.cli.network import WeightsConfig
from segtrain.pseudo.settings import TeacherInference
from segtrain.refine.settings import RefineSettings


@dataclass(frozen=True, kw_only=True)
class RefineConfig:
    """Which store's labels a network has a say in, and which of them are kept: what the other store will hold."""

    inference: TeacherInference
    settings: RefineSettings
    store: Path = setting(MISSING, "A finished store of `propagate run`.", argument="STORE")
    weights: Path = setting_of(WeightsConfig, "weights", argument="")
    architecture: str | None = setting_of(WeightsConfig, "architecture")
    device: str = setting_of(WeightsConfig, "device")
    dtype: str = setting_of(WeightsConfig, "dtype")
    out: Path = setting(MISSING, "The shard store of refined samples: a new folder, or one to go on with.")
    clips_per_shard: int | None = setting_of(RunConfig, "clips_per_shard")
    engine: str = setting_of(RunConfig, "engine")
    num_workers: int | None = setting_of(RunConfig, "num_workers")
    address: str | None = setting_of(RunConfig, "address")

    def __post_init__(self) -> None:
        require_settings(self)
        require_engine(self.engine, self.num_workers, self.address)


@command()
@configured(config=RefineConfig, continuation=Continuation)
@config_file
@json_option
def refine(config: RefineConfig, continuation: Continuation, as_json: bool) -> None:
    """Decide carried labels again, together with a trained network, and write them as another store.

    Of propagated and fused samples, each pixel gets the class that is most probable by its carried label and by the
    network together; it is ignored where both doubt. Frames, reasons and other samples are copied as they are.
    Run it again to continue an interrupted run: finished shards are kept.

    \b
    segtrain refine shards --weights run/best.safetensors --out refined
    """
    from propagate.job.places import teller
    from segtrain.pseudo.labelling import Teacher
    from segtrain.refine.run import write_refined

    with Progress("frames") as progress, interrupted("Interrupted; what is finished is kept."):
        summary = write_refined(
            config.out,
            config.store,
            Teacher(
                weights=config.weights,
                inference=config.inference,
                architecture=config.architecture,
                device=config.device,
                dtype=config.dtype,
            ),
            config.settings,
            clips_per_shard=config.clips_per_shard,
            engine=config.engine,
            num_workers=config.num_workers,
            address=config.address,
            retry_failed=continuation.retry_failed,
            overwrite=continuation.overwrite,
            on_plan=progress.expect,
            on_started=teller(progress.say, is_network=True),
            on_progress=progress.advance,
        )
    if as_json:
        print_json(asdict(summary))
    else:
        print_summary(summary.run, config.out)
        if summary.labelled:
            changed, doubted = (percent(part / summary.labelled, 2) for part in (summary.changed, summary.doubted))
            click.echo(
                f"by network {summary.teacher[:12]}: of the carried labels {changed} % are others now, {doubted} % are "
                "ignored, since both doubt"
            )
    if summary.run.failures or summary.run.lost:
        raise SystemExit(1)
