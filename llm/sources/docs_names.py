"""The functions and classes whose docstrings become questions: chosen by hand for text that explains.

Of look-alikes (Conv1d, Conv2d, Conv3d; Lazy*; functional twins; classifier and regressor) one is named.
"""

# A line is: where a user finds the names, the source file they stand in, the names; an indented line goes on.
DOCUMENTED = """
torch.nn torch/nn/modules/activation.py MultiheadAttention PReLU Softmin Softmax Softplus
torch.nn torch/nn/modules/adaptive.py AdaptiveLogSoftmaxWithLoss
torch.nn torch/nn/modules/batchnorm.py BatchNorm2d SyncBatchNorm
torch.nn torch/nn/modules/channelshuffle.py ChannelShuffle
torch.nn torch/nn/modules/container.py Sequential ModuleList ModuleDict ParameterList ParameterDict
torch.nn torch/nn/modules/dropout.py Dropout Dropout2d AlphaDropout
torch.nn torch/nn/modules/fold.py Fold
torch.nn torch/nn/modules/instancenorm.py InstanceNorm2d
torch.nn torch/nn/modules/linear.py LazyLinear
torch.nn torch/nn/modules/loss.py L1Loss NLLLoss GaussianNLLLoss KLDivLoss MSELoss BCEWithLogitsLoss
    HingeEmbeddingLoss CrossEntropyLoss CosineEmbeddingLoss MarginRankingLoss TripletMarginLoss
    TripletMarginWithDistanceLoss CTCLoss
torch.nn torch/nn/modules/module.py Module
torch.nn torch/nn/modules/normalization.py LocalResponseNorm LayerNorm GroupNorm RMSNorm
torch.nn torch/nn/modules/pixelshuffle.py PixelShuffle PixelUnshuffle
torch.nn torch/nn/modules/pooling.py MaxPool2d MaxUnpool2d FractionalMaxPool2d AdaptiveAvgPool2d
torch.nn torch/nn/modules/rnn.py RNN LSTM
torch.nn torch/nn/modules/sparse.py Embedding EmbeddingBag
torch.nn torch/nn/modules/transformer.py Transformer TransformerEncoderLayer
torch.nn torch/nn/modules/upsampling.py Upsample
torch.nn torch/nn/parameter.py Parameter UninitializedParameter Buffer
torch.nn.functional torch/nn/functional.py log_softmax interpolate grid_sample pdist cosine_similarity one_hot
    scaled_dot_product_attention
torch.nn.init torch/nn/init.py trunc_normal_ eye_ xavier_uniform_ kaiming_normal_ orthogonal_ sparse_
torch.nn.utils torch/nn/utils/clip_grad.py clip_grad_norm_
torch.nn.utils torch/nn/utils/init.py skip_init
torch.nn.utils.parametrizations torch/nn/utils/parametrizations.py weight_norm spectral_norm
torch.nn.utils.parametrize torch/nn/utils/parametrize.py cached register_parametrization
torch.nn.utils.prune torch/nn/utils/prune.py l1_unstructured random_structured
torch.nn.utils.rnn torch/nn/utils/rnn.py pack_padded_sequence pad_packed_sequence pad_sequence pack_sequence
torch.nn.parallel torch/nn/parallel/data_parallel.py DataParallel
torch.nn.parallel torch/nn/parallel/distributed.py DistributedDataParallel
torch.nn.attention.flex_attention torch/nn/attention/flex_attention.py BlockMask flex_attention
torch.nn.attention.bias torch/nn/attention/bias.py CausalVariant causal_upper_left causal_lower_right
torch.optim torch/optim/_muon.py Muon
torch.optim torch/optim/radam.py RAdam
torch.optim torch/optim/rmsprop.py RMSprop
torch.optim torch/optim/sgd.py SGD
torch.optim torch/optim/sparse_adam.py SparseAdam
torch.optim.lr_scheduler torch/optim/lr_scheduler.py LambdaLR MultiStepLR ConstantLR SequentialLR ChainedScheduler
    ReduceLROnPlateau CyclicLR OneCycleLR
torch.optim.swa_utils torch/optim/swa_utils.py AveragedModel update_bn
torch.utils.data torch/utils/data/dataloader.py DataLoader
torch.utils.data torch/utils/data/dataset.py Dataset IterableDataset ChainDataset StackDataset random_split
torch.utils.data torch/utils/data/distributed.py DistributedSampler
torch.utils.data torch/utils/data/sampler.py RandomSampler
torch.utils.checkpoint torch/utils/checkpoint.py checkpoint checkpoint_sequential
torch.autograd torch/autograd/__init__.py backward
torch.autograd torch/autograd/function.py Function
torch.autograd torch/autograd/grad_mode.py no_grad inference_mode
torch.autograd.graph torch/autograd/graph.py saved_tensors_hooks save_on_cpu register_multi_grad_hook
    increment_version allow_mutation_on_saved_tensors
torch.autograd.forward_ad torch/autograd/forward_ad.py make_dual unpack_dual enter_dual_level
torch.autograd.profiler torch/autograd/profiler.py profile record_function
torch.amp torch/amp/autocast_mode.py autocast
torch.cuda torch/cuda/memory.py set_per_process_memory_fraction empty_cache memory_stats max_memory_allocated
    memory_summary
torch.cuda torch/cuda/streams.py Stream Event
torch.profiler torch/profiler/profiler.py schedule tensorboard_trace_handler
torch torch/serialization.py load
torch torch/__init__.py set_default_device set_default_dtype use_deterministic_algorithms set_float32_matmul_precision
    compile
torch.distributed.fsdp torch/distributed/fsdp/fully_sharded_data_parallel.py FullyShardedDataParallel
torch.distributed.optim torch/distributed/optim/zero_redundancy_optimizer.py ZeroRedundancyOptimizer
torch.distributed.optim torch/distributed/optim/optimizer.py DistributedOptimizer
torch.distributed.tensor torch/distributed/tensor/placement_types.py Shard Replicate
torch.distributed torch/distributed/distributed_c10d.py all_reduce barrier new_group init_process_group all_to_all
    monitored_barrier
torch.distributions torch/distributions/categorical.py Categorical
torch.distributions torch/distributions/continuous_bernoulli.py ContinuousBernoulli
torch.distributions torch/distributions/independent.py Independent
torch.distributions torch/distributions/lkj_cholesky.py LKJCholesky
torch.distributions torch/distributions/mixture_same_family.py MixtureSameFamily
torch.distributions torch/distributions/negative_binomial.py NegativeBinomial
torch.distributions torch/distributions/relaxed_bernoulli.py RelaxedBernoulli
torch.distributions torch/distributions/von_mises.py VonMises
torch.distributions torch/distributions/transformed_distribution.py TransformedDistribution
torch.distributions.transforms torch/distributions/transforms.py Transform SoftmaxTransform StickBreakingTransform
    CorrCholeskyTransform
torch torch/_torch_docs.py addcmul addmm as_tensor asarray atan2 bernoulli bincount bitwise_and bitwise_right_shift
    bmm cat chunk clamp column_stack combinations corrcoef cov diag_embed diagonal diff div hsplit hstack
    empty_permuted flatten fmax fmod frexp frombuffer from_numpy gather gradient histc histogram index_select
    is_inference isclose isin kthvalue lerp linspace logaddexp masked_select mm mode movedim mv nanmean nanmedian
    narrow normal outer pow quantile randn remainder reshape resolve_conj roll rot90 round searchsorted bucketize sgn
    sort argsort squeeze std_mean take take_along_dim tensor_split tile topk transpose trapezoid cumulative_trapezoid
    tril triu_indices unsqueeze var hann_window kaiser_window count_nonzero fake_quantize_per_channel_affine
    set_flush_denormal vstack sparse_csr_tensor Generator logsumexp
torch torch/functional.py broadcast_shapes split einsum stft istft chain_matmul
torch.linalg torch/linalg/__init__.py inv inv_ex slogdet eigh eigvalsh householder_product ldl_factor lstsq
    matrix_power matrix_rank matrix_norm multi_dot svd cond pinv lu_factor lu qr vander
torch.special torch/special/__init__.py logit
torch.fft torch/fft/__init__.py irfft2 fftshift
sklearn.base sklearn/base.py clone TransformerMixin
sklearn.calibration sklearn/calibration.py CalibratedClassifierCV calibration_curve
sklearn.cluster sklearn/cluster/_agglomerative.py ward_tree
sklearn.cluster sklearn/cluster/_bicluster.py SpectralBiclustering SpectralCoclustering
sklearn.cluster sklearn/cluster/_birch.py Birch
sklearn.cluster sklearn/cluster/_dbscan.py DBSCAN
sklearn.cluster sklearn/cluster/_mean_shift.py MeanShift estimate_bandwidth
sklearn.cluster sklearn/cluster/_optics.py OPTICS
sklearn.cluster sklearn/cluster/_spectral.py SpectralClustering
sklearn.compose sklearn/compose/_column_transformer.py ColumnTransformer make_column_transformer
sklearn.compose sklearn/compose/_target.py TransformedTargetRegressor
sklearn.covariance sklearn/covariance/_robust_covariance.py MinCovDet
sklearn.covariance sklearn/covariance/_shrunk_covariance.py LedoitWolf
sklearn.cross_decomposition sklearn/cross_decomposition/_pls.py PLSSVD
sklearn.datasets sklearn/datasets/_base.py get_data_home load_files
sklearn.datasets sklearn/datasets/_openml.py fetch_openml
sklearn.datasets sklearn/datasets/_samples_generator.py make_classification make_regression make_friedman1
    make_low_rank_matrix
sklearn.datasets sklearn/datasets/_svmlight_format_io.py load_svmlight_file
sklearn.decomposition sklearn/decomposition/_factor_analysis.py FactorAnalysis
sklearn.decomposition sklearn/decomposition/_incremental_pca.py IncrementalPCA
sklearn.decomposition sklearn/decomposition/_kernel_pca.py KernelPCA
sklearn.decomposition sklearn/decomposition/_nmf.py NMF
sklearn.decomposition sklearn/decomposition/_pca.py PCA
sklearn.decomposition sklearn/decomposition/_sparse_pca.py SparsePCA
sklearn.decomposition sklearn/decomposition/_truncated_svd.py TruncatedSVD
sklearn.discriminant_analysis sklearn/discriminant_analysis.py LinearDiscriminantAnalysis
sklearn.dummy sklearn/dummy.py DummyClassifier
sklearn.ensemble sklearn/ensemble/_bagging.py BaggingClassifier
sklearn.ensemble sklearn/ensemble/_forest.py RandomForestClassifier RandomTreesEmbedding
sklearn.ensemble sklearn/ensemble/_gb.py GradientBoostingClassifier
sklearn.ensemble sklearn/ensemble/_iforest.py IsolationForest
sklearn.ensemble sklearn/ensemble/_stacking.py StackingClassifier
sklearn.ensemble sklearn/ensemble/_voting.py VotingRegressor
sklearn.ensemble sklearn/ensemble/_weight_boosting.py AdaBoostClassifier
sklearn.exceptions sklearn/exceptions.py NotFittedError DataDimensionalityWarning EfficiencyWarning
sklearn.feature_extraction sklearn/feature_extraction/_dict_vectorizer.py DictVectorizer
sklearn.feature_extraction sklearn/feature_extraction/_hash.py FeatureHasher
sklearn.feature_extraction.text sklearn/feature_extraction/text.py HashingVectorizer CountVectorizer TfidfTransformer
sklearn.feature_selection sklearn/feature_selection/_mutual_info.py mutual_info_classif
sklearn.feature_selection sklearn/feature_selection/_rfe.py RFE RFECV
sklearn.feature_selection sklearn/feature_selection/_sequential.py SequentialFeatureSelector
sklearn.feature_selection sklearn/feature_selection/_univariate_selection.py f_oneway chi2 f_regression
sklearn.feature_selection sklearn/feature_selection/_variance_threshold.py VarianceThreshold
sklearn.frozen sklearn/frozen/_frozen.py FrozenEstimator
sklearn.gaussian_process sklearn/gaussian_process/_gpc.py GaussianProcessClassifier
sklearn.gaussian_process.kernels sklearn/gaussian_process/kernels.py ConstantKernel WhiteKernel RBF RationalQuadratic
    ExpSineSquared DotProduct
sklearn.impute sklearn/impute/_base.py SimpleImputer MissingIndicator
sklearn.impute sklearn/impute/_iterative.py IterativeImputer
sklearn.impute sklearn/impute/_knn.py KNNImputer
sklearn.inspection sklearn/inspection/_partial_dependence.py partial_dependence
sklearn.inspection sklearn/inspection/_permutation_importance.py permutation_importance
sklearn.kernel_approximation sklearn/kernel_approximation.py Nystroem AdditiveChi2Sampler
sklearn.kernel_ridge sklearn/kernel_ridge.py KernelRidge
sklearn.linear_model sklearn/linear_model/_base.py LinearRegression
sklearn.linear_model sklearn/linear_model/_bayes.py ARDRegression
sklearn.linear_model sklearn/linear_model/_coordinate_descent.py ElasticNet Lasso
sklearn.linear_model sklearn/linear_model/_huber.py HuberRegressor
sklearn.linear_model sklearn/linear_model/_least_angle.py LassoLarsIC
sklearn.linear_model sklearn/linear_model/_logistic.py LogisticRegression
sklearn.linear_model sklearn/linear_model/_quantile.py QuantileRegressor
sklearn.linear_model sklearn/linear_model/_ransac.py RANSACRegressor
sklearn.linear_model sklearn/linear_model/_stochastic_gradient.py SGDClassifier SGDOneClassSVM
sklearn.linear_model sklearn/linear_model/_theil_sen.py TheilSenRegressor
sklearn.manifold sklearn/manifold/_mds.py smacof
sklearn.manifold sklearn/manifold/_spectral_embedding.py SpectralEmbedding spectral_embedding
sklearn.metrics sklearn/metrics/_classification.py accuracy_score multilabel_confusion_matrix cohen_kappa_score
    jaccard_score matthews_corrcoef f1_score fbeta_score precision_recall_fscore_support class_likelihood_ratios
    precision_score recall_score balanced_accuracy_score log_loss hinge_loss brier_score_loss zero_one_loss
sklearn.metrics sklearn/metrics/_ranking.py auc det_curve precision_recall_curve coverage_error
    label_ranking_average_precision_score label_ranking_loss ndcg_score top_k_accuracy_score
sklearn.metrics sklearn/metrics/_regression.py mean_absolute_percentage_error explained_variance_score r2_score
    d2_tweedie_score
sklearn.metrics sklearn/metrics/_scorer.py make_scorer
sklearn.metrics.cluster sklearn/metrics/cluster/_supervised.py adjusted_rand_score homogeneity_score
    completeness_score mutual_info_score adjusted_mutual_info_score normalized_mutual_info_score pair_confusion_matrix
sklearn.metrics.cluster sklearn/metrics/cluster/_unsupervised.py silhouette_score calinski_harabasz_score
    davies_bouldin_score
sklearn.metrics.pairwise sklearn/metrics/pairwise.py nan_euclidean_distances haversine_distances additive_chi2_kernel
    pairwise_distances pairwise_distances_chunked
sklearn.mixture sklearn/mixture/_bayesian_mixture.py BayesianGaussianMixture
sklearn.model_selection sklearn/model_selection/_classification_threshold.py FixedThresholdClassifier
    TunedThresholdClassifierCV
sklearn.model_selection sklearn/model_selection/_search.py ParameterGrid GridSearchCV
sklearn.model_selection sklearn/model_selection/_split.py LeaveOneOut LeavePOut KFold GroupKFold StratifiedGroupKFold
    TimeSeriesSplit LeaveOneGroupOut ShuffleSplit GroupShuffleSplit StratifiedShuffleSplit train_test_split
    PredefinedSplit
sklearn.model_selection sklearn/model_selection/_validation.py cross_val_predict permutation_test_score learning_curve
    validation_curve
sklearn.multiclass sklearn/multiclass.py OneVsRestClassifier OneVsOneClassifier OutputCodeClassifier
sklearn.multioutput sklearn/multioutput.py MultiOutputRegressor ClassifierChain
sklearn.naive_bayes sklearn/naive_bayes.py MultinomialNB ComplementNB BernoulliNB CategoricalNB
sklearn.neighbors sklearn/neighbors/_lof.py LocalOutlierFactor
sklearn.neighbors sklearn/neighbors/_nca.py NeighborhoodComponentsAnalysis
sklearn.neighbors sklearn/neighbors/_nearest_centroid.py NearestCentroid
sklearn.neural_network sklearn/neural_network/_rbm.py BernoulliRBM
sklearn.pipeline sklearn/pipeline.py Pipeline make_pipeline FeatureUnion
sklearn.preprocessing sklearn/preprocessing/_data.py MinMaxScaler StandardScaler MaxAbsScaler RobustScaler Normalizer
    Binarizer QuantileTransformer PowerTransformer KernelCenterer
sklearn.preprocessing sklearn/preprocessing/_encoders.py OneHotEncoder OrdinalEncoder
sklearn.preprocessing sklearn/preprocessing/_function_transformer.py FunctionTransformer
sklearn.preprocessing sklearn/preprocessing/_label.py LabelEncoder LabelBinarizer MultiLabelBinarizer
sklearn.preprocessing sklearn/preprocessing/_polynomial.py PolynomialFeatures SplineTransformer
sklearn.preprocessing sklearn/preprocessing/_target_encoder.py TargetEncoder
sklearn.random_projection sklearn/random_projection.py SparseRandomProjection
sklearn.semi_supervised sklearn/semi_supervised/_label_propagation.py LabelSpreading
sklearn.semi_supervised sklearn/semi_supervised/_self_training.py SelfTrainingClassifier
sklearn.svm sklearn/svm/_bounds.py l1_min_c
sklearn.svm sklearn/svm/_classes.py LinearSVC SVC SVR NuSVR
sklearn.tree sklearn/tree/_classes.py ExtraTreeClassifier
sklearn.tree sklearn/tree/_export.py plot_tree export_graphviz
"""
