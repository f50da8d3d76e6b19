package org.distilltophone.core;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;

/** A gallery file (docs/gallery.md): embeddings, ids and thumbnails, bound to the model that embedded them. */
public final class Gallery {
    static final byte[] MAGIC = {'D', 'T', 'P', 'G', 'A', 'L', 'R', 'Y'};
    static final int VERSION = 1;
    static final int ALIGNMENT = 64;
    static final int START = 16;
    private static final int MAX_HEADER = 1 << 20;
    private static final int MAX_DIMENSION = 65536;
    private static final int MAX_THUMBNAIL = 16 << 20;
    private static final int MAX_ID = 1 << 16;
    private static final String CURE = "make it again with distill-index, or copy it again";

    private static final class Section {
        final String name;
        final long offset;
        final long bytes;

        Section(String name, Fields fields) throws BadFileException {
            this.name = name;
            offset = fields.whole("offset", 0, Long.MAX_VALUE >> 1);
            bytes = fields.whole("bytes", 0, Long.MAX_VALUE >> 1);
            fields.sha256("sha256"); // has to be there; distill-index check compares it
        }
    }

    private final ByteBuffer file;
    private final int count;
    private final int dimension;
    private final boolean isFloat;
    private final GalleryModel model;
    private final List<Section> sections = new ArrayList<Section>();
    private final ByteBuffer embeddings;
    private final ByteBuffer bits;
    private final ByteBuffer ids;
    private final ByteBuffer idOffsets;
    private final ByteBuffer thumbnails;
    private final ByteBuffer thumbnailOffsets;

    /**
     * Reads a gallery. Header, layout, offsets and ids are checked; the rest is read when it is used.
     *
     * @param file the content between position and limit, best memory-mapped
     * @throws BadFileException another format or version, or the file is inconsistent
     */
    public static Gallery of(ByteBuffer file) throws BadFileException {
        return new Gallery(file.slice());
    }

    private Gallery(ByteBuffer file) throws BadFileException {
        this.file = file;
        if (size() < START) {
            throw bad("too short for a gallery");
        }
        ByteBuffer start = slice(0, START);
        for (byte one : MAGIC) {
            if (start.get() != one) {
                throw bad("not a gallery");
            }
        }
        int version = start.getInt();
        if (version != VERSION) {
            throw bad("gallery version " + (version & 0xFFFFFFFFL) + ", this app supports " + VERSION);
        }
        int headerBytes = start.getInt();
        if (headerBytes < 2 || headerBytes > MAX_HEADER || START + headerBytes > size()) {
            throw bad("a header of " + (headerBytes & 0xFFFFFFFFL) + " bytes");
        }
        Fields header = Fields.parse(slice(START, headerBytes), "gallery", CURE);
        if (header.whole("schema_version", 0, Integer.MAX_VALUE) != 1) {
            throw bad("another schema version");
        }
        count = (int) header.whole("count", 0, Integer.MAX_VALUE - 8);
        dimension = (int) header.whole("dimension", 1, MAX_DIMENSION);
        isFloat = header.oneOf("dtype", "int8", "float32").equals("float32");
        double scale = header.number("scale");
        double right = isFloat ? 1 : Int8.SCALE;
        if (Math.abs(scale - right) > 1e-6 * right) {
            throw header.badField("scale", scale + " instead of " + right);
        }
        model = GalleryModel.read(header.child("model"));
        readSections(header.child("sections"), START + headerBytes);
        embeddings = required("embeddings", (long) count * dimension * (isFloat ? 4 : 1));
        bits = section("bits", (long) count * ((dimension + 63) / 64) * 8);
        idOffsets = required("id_offsets", (count + 1L) * 8);
        ids = required("ids", -1);
        checkOffsets(idOffsets, ids.limit(), 1, MAX_ID, "id_offsets");
        for (int row = 0; row < count; row++) {
            if (!isPlainPath(ids, (int) idOffsets.getLong(row * 8), (int) idOffsets.getLong(row * 8 + 8))) {
                throw bad("the id of row " + row + " is not a plain relative path");
            }
        }
        thumbnailOffsets = section("thumbnail_offsets", (count + 1L) * 8);
        thumbnails = section("thumbnails", -1);
        if ((thumbnailOffsets == null) != (thumbnails == null)) {
            throw bad("only one of the sections thumbnails and thumbnail_offsets");
        }
        if (thumbnailOffsets != null) {
            checkOffsets(thumbnailOffsets, thumbnails.limit(), 0, MAX_THUMBNAIL, "thumbnail_offsets");
        }
    }

    public int count() {
        return count;
    }

    /** Returns D, the length of an embedding. */
    public int dimension() {
        return dimension;
    }

    public GalleryModel model() {
        return model;
    }

    /** Returns whether the file stores float32 rows. */
    public boolean isFloat() {
        return isFloat;
    }

    /** Returns the id of a row: a relative path with '/'. */
    public String id(int row) {
        return new String(piece(ids, idOffsets, row), StandardCharsets.UTF_8);
    }

    /** Returns the thumbnail of a row, a JPEG file; null if the row has none. */
    public byte[] thumbnail(int row) {
        byte[] jpeg = thumbnailOffsets == null ? new byte[0] : piece(thumbnails, thumbnailOffsets, row);
        return jpeg.length == 0 ? null : jpeg;
    }

    /**
     * Returns all rows as int8, row by row: a view of the file with its own position. Float32 rows are quantized.
     *
     * @throws IllegalArgumentException a float32 row contains NaN or infinity
     */
    public ByteBuffer rows() {
        if (!isFloat) {
            return embeddings.duplicate();
        }
        ByteBuffer out = ByteBuffer.allocate(Math.multiplyExact(count, dimension));
        FloatBuffer all = embeddings.duplicate().order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer();
        float[] row = new float[dimension];
        byte[] quantized = new byte[dimension];
        for (int i = 0; i < count; i++) {
            all.get(row);
            Int8.quantize(row, quantized);
            out.put(quantized);
        }
        out.rewind();
        return out;
    }

    /** Returns the sign bits: word w of row r is {@code getLong((r * words + w) * 8)}; null if the file has none. */
    public ByteBuffer bits() {
        return bits;
    }

    /**
     * Checks that the gallery was made with the model of a bundle.
     *
     * @throws BadFileException it was not
     */
    public void checkModel(Bundle bundle) throws BadFileException {
        if (!bundle.variant().sha256.equals(model.sha256)) {
            throw new BadFileException("gallery: made with another model (" + model.name + ", " + model.variant + ")",
                "index again with this bundle's " + bundle.variant().name);
        }
        if (bundle.dimension() != dimension) {
            throw bad("rows of " + dimension + " values, the model gives " + bundle.dimension());
        }
    }

    private int size() {
        return file.capacity();
    }

    private ByteBuffer slice(int offset, int bytes) {
        ByteBuffer view = file.duplicate();
        view.position(offset);
        view.limit(offset + bytes);
        return view.slice().order(ByteOrder.LITTLE_ENDIAN);
    }

    private byte[] piece(ByteBuffer content, ByteBuffer offsets, int row) {
        if (row < 0 || row >= count) {
            throw new IndexOutOfBoundsException("row " + row + " of " + count);
        }
        int from = (int) offsets.getLong(row * 8);
        byte[] out = new byte[(int) offsets.getLong(row * 8 + 8) - from];
        ByteBuffer view = content.duplicate();
        view.position(from);
        view.get(out);
        return out;
    }

    private void readSections(Fields fields, long first) throws BadFileException {
        for (String name : fields.raw().names()) { // unknown sections, too
            sections.add(new Section(name, fields.child(name)));
        }
        List<Section> byOffset = new ArrayList<Section>(sections);
        Collections.sort(byOffset, new Comparator<Section>() {
            @Override
            public int compare(Section a, Section b) {
                int order = Long.compare(a.offset, b.offset);
                return order != 0 ? order : Long.compare(a.bytes, b.bytes);
            }
        });
        long end = first;
        for (Section one : byOffset) {
            if (one.offset % ALIGNMENT != 0) {
                throw bad(one.name + " starts at " + one.offset + ", which is not a multiple of " + ALIGNMENT);
            }
            if (one.offset < end) {
                throw bad(one.name + " overlaps the section before it");
            }
            end = one.offset + one.bytes;
            if (end > size()) {
                throw bad("truncated: " + one.name + " ends at " + end + ", the file at " + size());
            }
        }
    }

    private ByteBuffer required(String name, long bytes) throws BadFileException {
        ByteBuffer found = section(name, bytes);
        if (found == null) {
            throw bad("no section '" + name + "'");
        }
        return found;
    }

    /** @param wanted expected size; -1: any */
    private ByteBuffer section(String name, long wanted) throws BadFileException {
        for (Section one : sections) {
            if (one.name.equals(name)) {
                if (wanted >= 0 && one.bytes != wanted) {
                    throw bad(name + ": " + one.bytes + " bytes instead of " + wanted);
                }
                return slice((int) one.offset, (int) one.bytes); // within the file, so below 2 GiB
            }
        }
        return null;
    }

    private void checkOffsets(ByteBuffer offsets, long end, int least, int most, String name) throws BadFileException {
        long before = offsets.getLong(0);
        boolean good = before == 0;
        for (int row = 1; row <= count && good; row++) {
            long next = offsets.getLong(row * 8);
            good = next >= before && next <= end && next - before >= least && next - before <= most;
            before = next;
        }
        if (!good || before != end) {
            throw bad(name + " do not ascend from 0 to " + end);
        }
    }

    /** Returns whether an id may be joined to a folder: no empty part, no "." or "..", no NUL. */
    private static boolean isPlainPath(ByteBuffer text, int from, int to) {
        for (int at = from, start = from; at <= to; at++) {
            int value = at == to ? '/' : text.get(at);
            if (value == 0) {
                return false;
            }
            if (value == '/') {
                int length = at - start;
                boolean dots = length > 0 && length <= 2 && text.get(start) == '.' && (length < 2 || text.get(start + 1) == '.');
                if (length == 0 || dots) {
                    return false;
                }
                start = at + 1;
            }
        }
        return true;
    }

    private static BadFileException bad(String what) {
        return new BadFileException("gallery: " + what, CURE);
    }
}
