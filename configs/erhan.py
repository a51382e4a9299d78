"""Does pretraining help more the deeper a network is? One to four layers, after Erhan et al. (2010).

    python launch.py erhan

Pretrains stacks of tied denoising autoencoders of one to four sigmoid layers, 16 seeds each, and fine-tunes all layers
on 2,000 labels; a stack shares the phases of the shallower ones. Expect the gain to grow with depth, +2.0, +2.6, +2.9
and +3.7 points: without pretraining a fourth layer hurts (0.889 after 0.896), with it every layer helps (0.914 to
0.926).
"""

from pretrain.config import AdamConfig, AutoencoderConfig, EncoderConfig, Experiment, FinetuneConfig, PretrainConfig

_UNITS = 400


def get_config() -> Experiment:
    """Returns the experiment: 16 seeds of pretrained and He weights at four depths, all layers trainable."""
    method = AutoencoderConfig(loss="cross_entropy", tied=True, corruption="masking", corruption_level=0.25)
    slow = AdamConfig(learning_rate=0.001)
    sweep = {
        "finetune.encoder_init": ("pretrained", "he"),
        "encoder.layers": tuple((_UNITS,) * depth for depth in (1, 2, 3, 4)),
    }
    return Experiment(
        encoder=EncoderConfig(activation="sigmoid"),
        pretrain=PretrainConfig(method=method, optimizer=slow, l2=0.0),
        finetune=FinetuneConfig(label_subset="first", epochs=20, optimizer=slow, l2=0.0),
        sweep=(sweep,),
        seeds=16,
    )
