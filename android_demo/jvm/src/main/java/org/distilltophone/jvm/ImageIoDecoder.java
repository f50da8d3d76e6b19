package org.distilltophone.jvm;

import java.awt.image.BufferedImage;
import java.awt.image.DataBuffer;
import java.awt.image.IndexColorModel;
import java.awt.image.Raster;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.util.Iterator;
import java.util.Locale;
import java.util.Set;
import javax.imageio.IIOException;
import javax.imageio.ImageIO;
import javax.imageio.ImageReader;
import javax.imageio.stream.ImageInputStream;
import org.distilltophone.core.Exif;
import org.distilltophone.core.ImageFileDecoder;
import org.distilltophone.core.Preprocessing;
import org.distilltophone.core.UndecodableException;

/**
 * Java's decoder for JPEG, PNG and BMP; it does not support WebP and CMYK. Samples are taken unconverted: Java's colour
 * models would brighten grey and apply profiles, which Python does not.
 */
public final class ImageIoDecoder implements ImageFileDecoder {
    private static final Set<String> FORMATS = Set.of("jpeg", "png", "bmp");

    static {
        ImageIO.setUseCache(false);
    }

    @Override
    public String name() {
        return "ImageIO";
    }

    @Override
    public String version() {
        return "Java " + System.getProperty("java.version");
    }

    @Override
    public Decoded decode(byte[] file) throws IOException, UndecodableException {
        return new Stored(image(file), Exif.orientation(new ByteArrayInputStream(file)));
    }

    /** An image with its EXIF orientation. */
    private static final class Stored extends ArgbImage implements Decoded {
        private final int orientation;

        Stored(ArgbImage image, int orientation) {
            super(image.argb, image.width(), image.height());
            this.orientation = orientation;
        }

        @Override
        public int orientation() {
            return orientation;
        }

        @Override
        public void close() {}
    }

    /** Decodes an image as it is stored, without rotation. */
    static ArgbImage image(byte[] file) throws IOException, UndecodableException {
        try (ImageInputStream stream = ImageIO.createImageInputStream(new ByteArrayInputStream(file))) {
            Iterator<ImageReader> readers = ImageIO.getImageReaders(stream);
            ImageReader reader = readers.hasNext() ? readers.next() : null;
            String format = reader == null ? magic(file) : reader.getFormatName().toLowerCase(Locale.ROOT);
            if (reader == null || !FORMATS.contains(format)) {
                throw new UndecodableException(format + ": Java decodes JPEG, PNG and BMP only");
            }
            reader.setInput(stream);
            try {
                String refusal = Preprocessing.refusal(reader.getWidth(0), reader.getHeight(0));
                if (refusal != null) {
                    throw new UndecodableException(refusal);
                }
                if (format.equals("jpeg") && channels(file) > 3) { // some versions of Java decode it, but differently from Python
                    throw new UndecodableException("a CMYK JPEG, which Java does not decode");
                }
                return samples(reader.read(0));
            } finally {
                reader.dispose();
            }
        } catch (IIOException broken) {
            throw new UndecodableException(String.valueOf(broken.getMessage()));
        } catch (OutOfMemoryError tooLarge) {
            throw new IOException("there is not enough memory now", tooLarge);
        }
    }

    /** Returns the number of channels of a JPEG from its frame header; 0 if there is none. */
    private static int channels(byte[] file) {
        int at = 2;
        while (at + 9 < file.length && (file[at] & 255) == 0xFF) {
            int marker = file[at + 1] & 255;
            if (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC) {
                return file[at + 9] & 255;
            }
            at += marker == 0xFF ? 1 : 2 + ((file[at + 2] & 255) << 8 | file[at + 3] & 255);
        }
        return 0;
    }

    private static String magic(byte[] file) {
        boolean webp = file.length > 12 && file[0] == 'R' && file[1] == 'I' && file[8] == 'W' && file[9] == 'E';
        return webp ? "WebP" : "not a known picture format";
    }

    private static ArgbImage samples(BufferedImage image) throws UndecodableException {
        int width = image.getWidth();
        int height = image.getHeight();
        if (image.getColorModel() instanceof IndexColorModel) {
            return new ArgbImage(image.getRGB(0, 0, width, height, null, 0, width), width, height);
        }
        Raster raster = image.getRaster();
        int bands = raster.getNumBands();
        int bits = raster.getSampleModel().getSampleSize(0);
        int type = raster.getTransferType();
        boolean packed = type == DataBuffer.TYPE_INT && bits == 8; // one value for all channels
        if (bands > 4 || !packed && type != DataBuffer.TYPE_BYTE && type != DataBuffer.TYPE_USHORT || bits != 8 && bits != 16) {
            throw new UndecodableException(bands + " channels of " + bits + " bits, which are not supported");
        }
        int[] argb = new int[width * height];
        int[] row = new int[width * bands];
        for (int y = 0, at = 0; y < height; y++) {
            raster.getPixels(0, y, width, 1, row);
            for (int x = 0, i = 0; x < width; x++, i += bands) {
                int shift = bits - 8; // the high byte
                int red = row[i] >> shift;
                int green = bands < 3 ? red : row[i + 1] >> shift;
                int blue = bands < 3 ? red : row[i + 2] >> shift;
                int alpha = bands == 2 ? row[i + 1] >> shift : bands == 4 ? row[i + 3] >> shift : 255;
                argb[at++] = alpha << 24 | red << 16 | green << 8 | blue;
            }
        }
        return new ArgbImage(argb, width, height);
    }
}
