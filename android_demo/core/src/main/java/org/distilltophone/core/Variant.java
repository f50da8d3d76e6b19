package org.distilltophone.core;

/** One model file of a bundle, with its input and output. */
public final class Variant {
    /** For example "tflite-int8". */
    public final String name;
    public final String file;
    public final int sizeBytes;
    /** SHA-256 of the model file, hex digits. */
    public final String sha256;
    /** "tflite" or "onnx". */
    public final String format;
    public final TensorSpec input;
    public final TensorSpec output;
    /** Smallest allowed cosine between this variant's golden embeddings and those computed on another machine. */
    public final double goldenMinCosine;
    final String goldenFile;
    private final String[] goldenInputSha256;

    Variant(String name, String file, int sizeBytes, String sha256, String format, TensorSpec input, TensorSpec output,
            double goldenMinCosine, String goldenFile, String[] goldenInputSha256) {
        this.name = name;
        this.file = file;
        this.sizeBytes = sizeBytes;
        this.sha256 = sha256;
        this.format = format;
        this.input = input;
        this.output = output;
        this.goldenMinCosine = goldenMinCosine;
        this.goldenFile = goldenFile;
        this.goldenInputSha256 = goldenInputSha256;
    }

    /**
     * Returns the SHA-256 of the input tensor of each golden image, hex digits, see {@link Embedder#inputSha256}; empty in
     * bundles of before this field.
     */
    public String[] goldenInputSha256() {
        return goldenInputSha256.clone();
    }
}
