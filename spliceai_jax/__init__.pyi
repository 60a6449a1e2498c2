from .architecture import ARCHITECTURES as ARCHITECTURES
from .architecture import Architecture as Architecture
from .display import ConsoleDisplay as ConsoleDisplay
from .display import Display as Display
from .errors import SpliceAIError as SpliceAIError
from .errors import SpliceAIWarning as SpliceAIWarning
from .evaluation.calibrated import Calibration as Calibration
from .evaluation.evaluate import evaluate as evaluate
from .evaluation.genome_metrics import GenomeMetrics as GenomeMetrics
from .evaluation.genome_metrics import GenomeSiteMetrics as GenomeSiteMetrics
from .evaluation.metrics import Metrics as Metrics
from .evaluation.metrics import SiteMetrics as SiteMetrics
from .fine_tuning.outcome import TransferResult as TransferResult
from .fine_tuning.run import transfer as transfer
from .fine_tuning.settings import TransferSettings as TransferSettings
from .network.model import SpliceAI as SpliceAI
from .network.pretrained import Pretrained as Pretrained
from .runs.history import History as History
from .scoring.calibrate import calibrate as calibrate
from .scoring.genome_evaluation import evaluate_genome as evaluate_genome
from .scoring.predict import Predictions as Predictions
from .scoring.predict import predict as predict
from .scoring.settings import PredictSettings as PredictSettings
from .training.recipes import RECIPES as RECIPES
from .training.recipes import Recipe as Recipe

__version__: str
