package org.distilltophone.core;

import com.eclipsesource.json.JsonObject;
import com.eclipsesource.json.JsonValue;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;

/** The validated content of {@code bundle.json}; see "What a reader refuses" in docs/bundle.md. */
final class Manifest {
    private static final int MAX_SIDE = 4096;
    private static final int MAX_EMBEDDING = 65536;
    private static final int MAX_GOLDEN = 1024;
    private static final long MAX_GOLDEN_FILE_BYTES = 64L << 20;
    private static final long MAX_GOLDEN_BYTES = 1L << 29;
    private static final int MAX_DIMENSION = 1 << 24;
    private static final Pattern PART = Pattern.compile("[A-Za-z0-9][A-Za-z0-9._+-]{0,99}");
    private static final Pattern DEVICE = Pattern.compile("(con|prn|aux|nul|com[1-9]|lpt[1-9])(\\..*)?");
    private static final Pattern NAME = Pattern.compile("[a-z0-9][a-z0-9._-]{0,63}");
    private static final int MAX_FACTS = 1000;

    /** A file that the bundle lists. */
    static final class Listed {
        final String file;
        final long bytes;
        final String sha256;

        Listed(Fields fields, long most) throws BadFileException {
            file = plainPath(fields, fields.text("file", 500));
            bytes = fields.whole("size_bytes", 1, most);
            sha256 = fields.sha256("sha256");
        }
    }

    final String name;
    final Preprocessing preprocessing;
    final int dimension;
    final List<Variant> variants = new ArrayList<Variant>();
    final Map<String, Listed> files = new LinkedHashMap<String, Listed>();
    final List<GoldenFile> goldenFiles = new ArrayList<GoldenFile>();
    final int goldenCount;
    final String goldenPixels;
    final Map<String, String> provenance = new LinkedHashMap<String, String>();
    private final Set<String> seen = new HashSet<String>();

    Manifest(Fields root) throws BadFileException {
        checkVersion(root);
        name = root.text("name", 200);
        if (name.isEmpty()) {
            throw root.badField("name", "empty");
        }
        preprocessing = preprocessing(root.child("preprocessing"));
        dimension = (int) root.whole("embedding_size", 1, MAX_EMBEDDING);
        root.oneOf("normalisation", "l2");
        seen.add("bundle.json");

        Fields golden = root.child("golden");
        goldenCount = (int) golden.whole("count", 1, MAX_GOLDEN);
        Fields expected = golden.child("expected");
        Map<String, Fields> byName = new LinkedHashMap<String, Fields>();
        for (String key : expected.raw().names()) {
            Fields one = expected.child(key);
            byName.put(key, one);
            list(one, new Listed(one, MAX_GOLDEN_BYTES), (long) goldenCount * dimension * 4);
            one.sha256s("input_sha256", goldenCount);
        }
        Fields[] found = root.children("variants", 64);
        if (found.length == 0) {
            throw root.badField("variants", "none");
        }
        for (Fields one : found) {
            variants.add(variant(one, byName));
        }
        if (!byName.containsKey("pytorch")) {
            throw golden.bad("no expected embeddings of pytorch");
        }
        Fields pixels = golden.child("pixels");
        Listed listed = new Listed(pixels, MAX_GOLDEN_BYTES);
        goldenPixels = listed.file;
        list(pixels, listed, (long) goldenCount * preprocessing.inputSize * preprocessing.inputSize * 3);
        readGoldenFiles(golden);
        if (root.has("model_card")) {
            Fields card = root.child("model_card");
            list(card, new Listed(card, Integer.MAX_VALUE), -1);
        }
        flatten("", root.child("provenance").raw());
        if (!provenance.containsKey("source.id") || !provenance.containsKey("created")) {
            throw root.badField("provenance", "no source.id or no created");
        }
    }

    private static void checkVersion(Fields root) throws BadFileException {
        JsonValue version = root.raw().get("schema_version");
        if (version == null) {
            throw root.bad("no schema_version");
        }
        if (!version.toString().equals("1")) {
            throw root.bad("schema version " + version + ", this app supports 1");
        }
    }

    static Preprocessing preprocessing(Fields fields) throws BadFileException {
        int input = (int) fields.whole("input_size", 1, MAX_SIDE);
        int resize = (int) fields.whole("resize_size", input, MAX_SIDE);
        fields.oneOf("resize_rule", "pillow_bilinear");
        fields.oneOf("crop", "center");
        fields.oneOf("colour_order", "RGB");
        double[] std = fields.numbers("std", 3);
        for (double one : std) {
            if (one <= 0) {
                throw fields.badField("std", one + " is not above 0");
            }
        }
        return new Preprocessing(input, resize, fields.numbers("mean", 3), std);
    }

    private Variant variant(Fields fields, Map<String, Fields> expected) throws BadFileException {
        String variantName = fields.text("name", 64);
        if (!NAME.matcher(variantName).matches()) {
            throw fields.badField("name", "'" + variantName + "' is not a valid name");
        }
        for (Variant other : variants) {
            if (other.name.equals(variantName)) {
                throw fields.badField("name", "'" + variantName + "' occurs twice");
            }
        }
        Fields golden = expected.get(variantName);
        if (golden == null) {
            throw fields.bad("golden: no expected embeddings of " + variantName);
        }
        double minCosine = golden.number("min_cosine");
        if (Math.abs(minCosine) > 1.000001) {
            throw golden.badField("min_cosine", minCosine + " is not a cosine");
        }
        Listed listed = new Listed(fields, Integer.MAX_VALUE);
        list(fields, listed, -1);
        Fields in = fields.child("input");
        TensorSpec input = tensor(in, 4, in.oneOf("layout", "NHWC", "NCHW"));
        int side = preprocessing.inputSize;
        boolean last = input.layout.equals("NHWC");
        int[] shape = input.shape;
        if (shape[0] != 1 || shape[last ? 1 : 2] != side || shape[last ? 2 : 3] != side || shape[last ? 3 : 1] != 3) {
            throw in.badField("shape", "not 1 x " + side + " x " + side + " x 3");
        }
        Fields out = fields.child("output");
        TensorSpec output = tensor(out, 2, null);
        if (output.shape[0] != 1 || output.shape[1] != dimension) {
            throw out.badField("shape", "not 1 x " + dimension);
        }
        if (!out.flag("unit_norm") && !out.flag("renormalise")) {
            throw out.bad("rows that are not of unit length need renormalise");
        }
        return new Variant(variantName, listed.file, (int) listed.bytes, listed.sha256, fields.text("format", 64), input,
            output, minCosine, golden.text("file", 500), golden.sha256s("input_sha256", goldenCount));
    }

    /** Reads a tensor description of a bundle or of a runner's job. */
    static TensorSpec tensor(Fields fields, int axes, String layout) throws BadFileException {
        String dtype = fields.oneOf("dtype", "float32", "int8", "uint8", "int16");
        boolean quantised = fields.has("scale") && fields.has("zero_point");
        boolean isFloat = dtype.equals("float32");
        if (isFloat && (fields.has("scale") || fields.has("zero_point"))) {
            throw fields.bad("a float32 tensor has no scale or zero point");
        }
        if (!isFloat && !quantised) {
            throw fields.bad(dtype + " needs scale and zero_point");
        }
        double scale = isFloat ? 0 : fields.number("scale");
        if (!isFloat && scale <= 0) {
            throw fields.badField("scale", scale + " is not above 0");
        }
        boolean unsigned = dtype.equals("uint8");
        boolean wide = dtype.equals("int16"); // symmetric in TensorFlow Lite
        int zero = isFloat ? 0 : (int) fields.whole("zero_point", unsigned || wide ? 0 : -128, wide ? 0 : unsigned ? 255 : 127);
        int[] shape = fields.wholes("shape", axes, 1, MAX_DIMENSION);
        long size = 4;
        for (int one : shape) {
            size *= one;
            if (size > Integer.MAX_VALUE) {
                throw fields.badField("shape", "too large");
            }
        }
        return new TensorSpec(fields.text("name", 200), shape, layout, dtype, scale, zero);
    }

    private void readGoldenFiles(Fields golden) throws BadFileException {
        if (!golden.has("files")) {
            return;
        }
        Set<Integer> rows = new HashSet<Integer>();
        for (Fields one : golden.children("files", MAX_GOLDEN)) {
            Listed listed = new Listed(one, MAX_GOLDEN_FILE_BYTES);
            list(one, listed, -1);
            int row = (int) one.whole("row", 0, goldenCount - 1);
            if (!rows.add(row)) {
                throw one.badField("row", row + " occurs twice");
            }
            goldenFiles.add(new GoldenFile(listed.file, row, (int) one.whole("width", 1, 65535),
                (int) one.whole("height", 1, 65535), one.sha256("decoded_sha256"), one.sha256("pixels_sha256")));
        }
    }

    private void list(Fields fields, Listed listed, long bytes) throws BadFileException {
        if (!seen.add(listed.file.toLowerCase(Locale.ROOT))) {
            throw fields.badField("file", "'" + listed.file + "' occurs twice");
        }
        if (bytes >= 0 && listed.bytes != bytes) {
            throw fields.badField("size_bytes", listed.bytes + " instead of " + bytes);
        }
        files.put(listed.file, listed);
    }

    private static String plainPath(Fields fields, String path) throws BadFileException {
        String[] parts = path.split("/", -1);
        boolean plain = parts.length <= 4;
        for (String part : parts) {
            plain &= PART.matcher(part).matches() && !DEVICE.matcher(part.toLowerCase(Locale.ROOT)).matches();
        }
        if (!plain) {
            throw fields.badField("file", "'" + path + "' is not a plain path inside the bundle");
        }
        return path;
    }

    /** Collects single values. Lists of keys and hashes are not useful on a screen. */
    private void flatten(String prefix, JsonObject object) {
        for (JsonObject.Member member : object) {
            JsonValue value = member.getValue();
            if (provenance.size() >= MAX_FACTS) {
                return;
            }
            if (value.isObject()) {
                flatten(prefix + member.getName() + ".", value.asObject());
            } else if (!value.isArray() && !value.isNull()) {
                provenance.put(prefix + member.getName(), value.isString() ? value.asString() : value.toString());
            }
        }
    }
}
