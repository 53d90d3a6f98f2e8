"""A run: recipe, training loop, checkpoints, evaluation, and what becomes of a trained network.

recipe = load_recipe("released", ["epochs=1"])  # from alexnet_train.recipe
classifier = load_classifier(Path("runs/released/checkpoints/best.pt"), torch.device("cpu"))  # …evaluate
predictions = predict(classifier, [Path("photo.jpg")], views=10, top=5)  # …predict
"""

# Names for other rooms, and the modules that they may import from; everything else is private to the room.
__all__ = ["evaluate", "export", "importer", "loop", "predict", "recipe"]
