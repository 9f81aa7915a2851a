"""Train a PixelCNN: python train.py [PRESET] [OPTIONS]"""

from pixelcnn_jax import cli, config, train


def main(args: list[str]) -> None:
    named = bool(args) and not args[0].startswith("-")
    name, flags = (args[0], args[1:]) if named else ("digits", args)
    default = config.preset(name)
    presets = "; ".join(f"{key}: {about}" for key, (about, _) in config.PRESETS.items())
    about = (
        "Train a PixelCNN, or go on with a run that was interrupted. The first argument"
        f" may name a preset, whose settings the options override. Presets: {presets}."
    )
    settings = cli.parse(config.Config, default, flags, f"train.py {name}", about)
    train(settings)


if __name__ == "__main__":
    cli.main(main)
