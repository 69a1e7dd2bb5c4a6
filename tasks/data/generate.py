"""Pictures from a prompt, with any model of the store or of a folder."""

from PIL import Image

from infra.artifact import Source
from infra.errors import UserError
from tasks.data.load import load_model
from tasks.order import derive_seed, sample_noise


def generate(
    source: Source, prompt: str, *, steps: int, guidance: float, solver: str | None = None, seed: int = 0
) -> Image.Image:
    """Draw one picture. ``solver`` defaults to Euler for flows and DPM-Solver++ for diffusion teachers.

    Raises UserError for a model that cannot be loaded or has no such solver.
    """
    model = load_model(source)
    solver = solver or ("dpmsolver++" if model.parameterization == "diffusion" else "euler")
    try:
        model.check_solver(solver)
    except ValueError as error:
        raise UserError(str(error)) from error
    noise = sample_noise([derive_seed(seed, "generate")], model.latent_shape)
    picture = model.decode(model.sample(noise, [prompt], steps, guidance, solver))[0]
    return Image.fromarray(picture.permute(1, 2, 0).numpy())
